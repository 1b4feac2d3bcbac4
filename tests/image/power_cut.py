"""tests/power_cut: takes the power from an emulated board under write load, again and again, and looks
for every acknowledged write after the next start."""

import argparse
import base64
import http.client
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

import pymongo
import redis

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "image"))

from machine import Board, BoardError, copy_image, free_port, imager_files, key_pair, put  # noqa: E402
from volatile_disk import VolatileDisk  # noqa: E402

START_LIMIT = 420
# Redis with appendfsync everysec: a second, and another one while the last fsync still runs
# (redis.conf, "appendfsync everysec"; aof.c, AOF_WRITE_LOG_ERROR_RATE and the 2 s postponement).
CACHE_WINDOW = 2.0
DOCUMENTS_AT_ONCE = 3


class Card:
    """A card behind a disk that forgets what was not flushed."""

    def __init__(self, path, work, random_numbers):
        self.path, self.work, self.random = path, work, random_numbers
        self.disk = None

    def board(self, key):
        socket_path = self.work / "card.sock"
        socket_path.unlink(missing_ok=True)
        self.disk = VolatileDisk(self.path, socket_path, self.random.random())
        drive = f"file.driver=nbd,file.server.type=unix,file.server.path={socket_path},format=raw,cache=writeback"
        return Board(self.path, self.work, drive=drive, key=key)

    def cut(self, board):
        """Takes the power away; what the disk had not flushed may be gone."""
        board.cut()
        return self.disk.cut()


class Load:
    """Clients on all datastores through one ssh connection, and what was acknowledged to them."""

    def __init__(self, board, uris):
        self.board, self.uris = board, uris
        self.documents, self.keys, self.searchable = set(), {}, set()
        self.stopping = threading.Event()
        self.failures = []
        self.threads, self.tunnel = [], None

    def connect(self):
        """Forwards the ports; gives the clients."""
        document, cache, search = free_port(), free_port(), free_port()
        forwards = ["-N", "-L", f"{document}:127.0.0.1:27017", "-L", f"{cache}:127.0.0.1:6379",
                    "-L", f"{search}:127.0.0.1:9200"]
        command = self.board.ssh_command()
        self.tunnel = subprocess.Popen([*command[:-1], *forwards, command[-1]], stdin=subprocess.DEVNULL,
                                       stderr=subprocess.DEVNULL)
        mongo = pymongo.MongoClient(self.uris["document"].replace(":27017", f":{document}"), serverSelectionTimeoutMS=60000,
                                    retryWrites=False, socketTimeoutMS=60000, connectTimeoutMS=60000)
        store = redis.Redis.from_url(self.uris["cache"].replace(":6379", f":{cache}"), socket_timeout=60)
        index = Index(self.uris["search"].replace(":9200", f":{search}"))
        began = time.monotonic()
        while True:
            try:
                mongo.admin.command("ping")
                store.ping()
                index.call("GET", "/")
                return mongo, store, index
            except (pymongo.errors.PyMongoError, redis.exceptions.RedisError, OSError, http.client.HTTPException):
                if time.monotonic() - began > 120:
                    raise
                time.sleep(0.5)

    def start(self, mongo, store, index, round_number):
        collection = mongo.power.get_collection("cut", write_concern=pymongo.WriteConcern(w=1, j=True))

        def documents(worker):
            number = 0
            while not self.stopping.is_set():
                identity = f"{round_number}-{worker}-{number}"
                collection.insert_one({"_id": identity, "round": round_number, "text": identity * 20})
                self.documents.add(identity)
                number += 1

        def cache():
            number = 0
            while not self.stopping.is_set():
                key = f"cut:{round_number}:{number}"
                store.set(key, key * 3)
                self.keys[key] = time.monotonic()
                number += 1

        def search():
            number = 0
            while not self.stopping.is_set():
                identity = f"{round_number}-{number}"
                index.call("PUT", f"/power/_doc/{identity}", {"round": round_number, "text": identity * 20})
                self.searchable.add(identity)
                number += 1

        def until_cut(work, *arguments):
            try:
                work(*arguments)
            except (pymongo.errors.PyMongoError, redis.exceptions.RedisError, OSError,
                    http.client.HTTPException) as error:
                if not self.stopping.is_set():
                    self.failures.append(f"{type(error).__name__}: {error}")

        jobs = [(documents, worker) for worker in range(DOCUMENTS_AT_ONCE)] + [(cache,), (search,)]
        self.threads = [threading.Thread(target=until_cut, args=job, daemon=True) for job in jobs]
        for thread in self.threads:
            thread.start()

    def end(self):
        if self.tunnel:
            self.tunnel.kill()
            self.tunnel.wait()
        for thread in self.threads:
            thread.join(90)


def check_system(board):
    """Nothing was mended by hand, nothing was found broken."""
    complaints = board.run("dmesg | grep -Ei 'btrfs.*(error|corrupt|warning)|ext4-fs error|squashfs error' || true")
    if complaints.strip():
        raise BoardError(f"the kernel complains after the cut:\n{complaints}")
    fault = board.run("cat /run/lucid-boot/state-fault 2>/dev/null || true")
    if fault.strip():
        raise BoardError(f"the state partition was not mounted: {fault}")


class Index:
    """A client of the search engine, over one connection."""

    def __init__(self, uri):
        parts = urllib.parse.urlsplit(uri)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)
        login = base64.b64encode(f"{parts.username}:{parts.password}".encode()).decode()
        self.headers = {"authorization": f"Basic {login}", "content-type": "application/json"}

    def call(self, method, path, body=None):
        """The answer; anything but success is an OSError."""
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        if answer.status >= 300:
            raise OSError(f"{method} {path}: {answer.status} {text[:200]}")
        return json.loads(text)


def lost(mongo, store, index, acknowledged):
    """Acknowledged writes that are not there."""
    documents, keys, searchable = acknowledged
    found = {entry["_id"] for entry in mongo.power.cut.find({}, {"_id": 1})}
    missing = [identity for identity in documents if identity not in found]
    wanted = sorted(searchable)
    for at in range(0, len(wanted), 500):
        answer = index.call("POST", "/power/_mget", {"ids": wanted[at : at + 500]})
        missing += [doc["_id"] for doc in answer["docs"] if not doc.get("found")]
    names = list(keys)
    values = []
    for at in range(0, len(names), 500):
        values += store.mget(names[at : at + 500])
    missing += [name for name, value in zip(names, values) if value != (name * 3).encode()]
    return missing


def uris(board):
    return {name: board.run(f"lucid credentials show {name}").strip() for name in ("document", "cache", "search")}


def first_start(image, work, numbers, round_number):
    """A cut at a random moment of the first start; the next start must come up by itself."""
    key, public = key_pair(work)
    card = Card(copy_image(image, work / "first.img", 4 << 30), work, numbers)
    put(card.path, "user-data", imager_files(public))
    board = card.board(key).start()
    moment = numbers.uniform(8, 75)
    time.sleep(moment)
    unflushed, gone = card.cut(board)
    board = card.board(key).start()
    try:
        board.wait_console("lucid: READY", START_LIMIT)
        board.wait_ssh(START_LIMIT)
        board.wait_state("ready", START_LIMIT)
        check_system(board)
        load = Load(board, uris(board))
        mongo, store, index = load.connect()
        mongo.power.cut.insert_one({"_id": "after"})
        index.call("PUT", "/power/_doc/after", {"text": "x"})
        store.set("after", "x")
        load.end()
    finally:
        card.cut(board)
    print(f"first start, round {round_number}: cut after {moment:.1f} s ({unflushed} sectors unflushed, {gone} lost); "
          "the next start was ready", flush=True)


def rounds(image, work, numbers, count):
    key, public = key_pair(work)
    card = Card(copy_image(image, work / "card.img", 8 << 30), work, numbers)
    put(card.path, "user-data", imager_files(public))
    documents, keys, searchable = set(), {}, set()
    for number in range(count + 1):
        board = card.board(key).start()
        ready = board.wait_console("lucid: READY", START_LIMIT)
        try:
            board.wait_ssh(START_LIMIT)
            board.wait_state("ready", START_LIMIT)
            check_system(board)
            load = Load(board, uris(board))
            mongo, store, index = load.connect()
            missing = lost(mongo, store, index, (documents, keys, searchable))
            if missing:
                raise BoardError(f"lost after round {number}: {len(missing)} acknowledged writes, among them {missing[:5]}")
            if number == count:
                load.end()
                board.power_off()
                card.disk.close()
                break
            load.start(mongo, store, index, number + 1)
            moment = numbers.uniform(4, 20)
            time.sleep(moment)
            load.stopping.set()
        except BaseException:
            card.cut(board)
            raise
        unflushed, gone = card.cut(board)
        cut = time.monotonic()
        load.end()
        if load.failures:
            raise BoardError(f"clients failed before the cut: {load.failures[:3]}")
        # What the cache acknowledged in its last moments may be gone, by its own promise.
        safe = {name: at for name, at in load.keys.items() if at < cut - CACHE_WINDOW}
        if min(len(load.documents), len(safe), len(load.searchable)) < 5:
            raise BoardError(f"too few writes to judge by: {len(load.documents)} documents, {len(safe)} keys, "
                             f"{len(load.searchable)} searchable documents")
        documents |= load.documents
        searchable |= load.searchable
        keys.update(safe)
        print(f"round {number + 1}: ready {ready:.0f} s after power on, cut after {moment:.1f} s of load, "
              f"{len(load.documents)} documents, {len(safe)} keys and {len(load.searchable)} searchable documents to be found again "
              f"({unflushed} sectors unflushed, {gone} lost)", flush=True)
    print(f"{len(documents)} documents, {len(keys)} keys and {len(searchable)} searchable documents of {count} rounds were "
          "acknowledged before a cut; all are there")


def main():
    parser = argparse.ArgumentParser(prog="tests/power_cut")
    parser.add_argument("--image", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first-starts", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}", flush=True)
    numbers = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="lucid-cut.") as work:
        for number in range(arguments.first_starts):
            first_start(arguments.image, pathlib.Path(work), numbers, number + 1)
        rounds(arguments.image, pathlib.Path(work), numbers, arguments.rounds)
    total = arguments.rounds + arguments.first_starts
    print(f"{total} passed, 0 failed")


try:
    main()
except (BoardError, OSError, subprocess.SubprocessError, pymongo.errors.PyMongoError, redis.exceptions.RedisError) as error:
    sys.exit(f"power_cut: {error}")
