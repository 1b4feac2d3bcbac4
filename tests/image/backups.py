"""Backups on an emulated board, under the service's bounds: made to another disk, and restored with one
command onto a card that knows nothing but the words."""

import base64
import http.client
import json
import subprocess
import time
import urllib.parse

import pymongo

from machine import BoardError, free_port, put

CONFIG = """
backup.schedule = ""
backup.verify = ""
backup.drill = ""
[[backup.repositories]]
name = "away"
path = "/run/lucid-pools/away/repository"
"""
DOCUMENTS = 500


def expect(holds, what):
    if not holds:
        raise BoardError(f"does not hold: {what}")


def last(text):
    return text.strip().splitlines()[-1]


class Clients:
    """Clients of the document store and of the search engine, through ssh."""

    def __init__(self, board):
        document, self.search = free_port(), free_port()
        uri = board.run("lucid credentials show document").strip()
        search = urllib.parse.urlsplit(board.run("lucid credentials show search").strip())
        login = base64.b64encode(f"{search.username}:{search.password}".encode()).decode()
        self.headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        command = board.ssh_command()
        forwards = ["-N", "-L", f"{document}:127.0.0.1:27017", "-L", f"{self.search}:127.0.0.1:9200"]
        self.tunnel = subprocess.Popen([*command[:-1], *forwards, command[-1]], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.mongo = pymongo.MongoClient(uri.replace(":27017", f":{document}"), serverSelectionTimeoutMS=90000, directConnection=True)
        self.mongo.admin.command("ping")

    def call(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.search, timeout=90)
        connection.request(method, path, None if body is None else json.dumps(body), self.headers)
        return json.loads(connection.getresponse().read())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.mongo.close()
        self.tunnel.kill()
        self.tunnel.wait()


def card_of(bench, name):
    card = bench.card(name)
    put(card, "lucid.toml", CONFIG)
    return card


def state(board):
    """What clients see."""
    with Clients(board) as clients:
        documents = sorted((one["_id"], one["text"]) for one in clients.mongo.shop.orders.find())
        note = clients.call("GET", "/notes/_doc/1").get("_source")
    cache = board.run("uri=$(lucid credentials show cache); redis-cli -u \"$uri\" --no-auth-warning get kept")
    files = board.run("sha256sum /data/chunks-a/file | cut -d' ' -f1")
    return documents, cache, note, files


def backup(bench, up):
    """To another disk, in the bounds of the service; checked and rehearsed there; then a new card gets
    everything back with the words and one command, passwords included."""
    _, attach = bench.disk("ssd", size=8 << 30)
    board = bench.board(card_of(bench, "old"), extra=attach)
    try:
        up(board)
        board.run("lucid volume pool create away --on /dev/disk/by-id/virtio-ssd")
        board.run("lucid volume create chunks-a --type chunks --size 100M; head -c 20000000 /dev/urandom > /data/chunks-a/file")
        with Clients(board) as clients:
            orders = clients.mongo.shop.orders
            orders.insert_many([{"_id": n, "text": f"order {n}" * 20} for n in range(DOCUMENTS)])
            orders.create_index("text")
            clients.call("PUT", "/notes/_doc/1?refresh=true", {"text": "kept"})
        board.run("uri=$(lucid credentials show cache); redis-cli -u \"$uri\" --no-auth-warning set kept yes")
        before = state(board)
        expect(len(before[0]) == DOCUMENTS and before[2], f"everything is there: {before[1:]}")
        began = time.monotonic()
        print(f"  {last(board.run('lucid backup create', limit=900))}", flush=True)
        print(f"  {last(board.run('lucid backup drill', limit=900))}", flush=True)
        print(f"  both within {time.monotonic() - began:.0f} s of emulation", flush=True)
        limits = board.run("cat /sys/fs/cgroup/system.slice/lucid.service/backup/memory.max /sys/fs/cgroup/system.slice/lucid.service/backup/cpu.weight").split()
        expect(int(limits[0]) < 2 << 30 and limits[1] == "10", f"its process has bounds: {limits}")
        words = json.loads(board.run("lucid --json backup key show"))["words"]
        uri = board.run("lucid credentials show cache")
        board.power_off()
    finally:
        board.cut()

    board = bench.board(card_of(bench, "new"), extra=attach)
    try:
        up(board)
        told = board.run("lucid backup restore everything --confirm everything 2>&1 || true")
        expect("lucid backup key import" in told, f"without the words it says what it needs: {told}")
        board.run("lucid volume pool adopt away --on /dev/disk/by-id/virtio-ssd")
        board.run("lucid backup key import -", stdin=words)
        print(f"  {last(board.run('lucid backup restore everything --confirm everything', limit=1200))}", flush=True)
        board.wait_state("ready", 240)
        expect(board.run("lucid credentials show cache") == uri, "clients log in as they did")
        after = state(board)
        expect(after == before, f"everything is as it was: {after[1:]} {before[1:]}")
        board.power_off()
    finally:
        board.cut()
