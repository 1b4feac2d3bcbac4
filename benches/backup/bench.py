"""scripts/bench backup: how long backups of a whole appliance take, beside restic on the same files,
what a second one costs, what clients feel meanwhile, and how much memory it needs."""

import argparse
import hashlib
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pymongo
import redis

from shared import BenchError, free_ports, machine, positive, put_between, say

BEGIN, END = "<!-- bench backup: begin -->", "<!-- bench backup: end -->"
COLLECTION_BEGIN, COLLECTION_END = "<!-- bench backup --collection: begin -->", "<!-- bench backup --collection: end -->"
WORDS = [hashlib.sha256(str(n).encode()).hexdigest()[: 3 + n % 7] for n in range(4000)]


def run(*command, env=None):
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    if result.returncode != 0:
        raise BenchError(" ".join(command), (result.stderr.strip() or result.stdout.strip())[-800:], "see above")
    return result.stdout


def text(chance, length):
    """Words that compress about as texts do."""
    words = []
    size = 0
    while size < length:
        words.append(chance.choice(WORDS))
        size += len(words[-1]) + 1
    return " ".join(words)


class Appliance:
    """A supervisor with all three datastores on a btrfs of its own."""

    def __init__(self, options, work):
        self.work, self.root, self.lucid = Path(work), Path(work, "root"), options.lucid
        os.chmod(work, 0o755)
        (self.root / "etc/lucid").mkdir(parents=True)
        data = self.root / "data"
        data.mkdir()
        disk = Path(work, "disk")
        with open(disk, "wb") as file:
            file.truncate((options.mib * 12 << 20) + (8 << 30))
        self.device = run("losetup", "--find", "--show", "--direct-io=on", str(disk)).strip()
        run("mkfs.btrfs", "-q", "-f", self.device)
        run("mount", "-o", "noatime", self.device, str(data))
        self.ports = free_ports(3)
        lines = [
            "tuning.enabled = false",
            'panel.driver = "off"',
            'backup.schedule = ""',
            'backup.verify = ""',
            'backup.drill = ""',
            f'volume.default_quota = "{8 + options.mib // 192}G"',
        ]
        for name, port in zip(("document", "cache", "search"), self.ports):
            lines.append(f"datastore.{name}.port = {port}")
        for name in ("local", "alone"):
            lines.append(f'[[backup.repositories]]\nname = "{name}"\npath = "backups/{name}"')
        (self.root / "etc/lucid/lucid.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        environment = dict(os.environ, LUCID_ENGINE_PATH=str(Path(options.secantus).parent))
        self.process = subprocess.Popen([self.lucid, "--root", str(self.root), "supervise"], stderr=subprocess.DEVNULL, env=environment)
        began = time.monotonic()
        while self.status().get("state") != "ready":
            if time.monotonic() - began > 120:
                self.close()
                raise BenchError("starting the appliance", "it is not ready", "look at its journal")
            time.sleep(0.2)

    def status(self):
        result = subprocess.run([self.lucid, "--root", str(self.root), "--json", "status"], capture_output=True, text=True, check=False)
        try:
            return json.loads(result.stdout)
        except ValueError:
            return {}

    def do(self, *arguments):
        return run(self.lucid, "--root", str(self.root), *arguments)

    def uri(self, name):
        return self.do("credentials", "show", name).strip()

    def clients(self):
        document = pymongo.MongoClient(self.uri("document"), directConnection=True)
        cache = redis.Redis.from_url(self.uri("cache"))
        return document, cache

    def timed(self, *arguments):
        """Seconds of a command, and the largest memory of the process that does the work."""
        peak = 0
        began = time.monotonic()
        # What it says of its progress is more than a pipe holds.
        with tempfile.TemporaryFile("w+") as said:
            process = subprocess.Popen([self.lucid, "--root", str(self.root), *arguments], stdout=said, text=True)
            while process.poll() is None:
                peak = max(peak, worker_memory())
                time.sleep(0.02)
            if process.returncode:
                said.seek(0)
                raise BenchError(" ".join(arguments), said.read()[-800:], "see above")
        return time.monotonic() - began, peak

    def close(self):
        self.process.terminate()
        self.process.wait(120)
        for _ in range(60):
            if not subprocess.run(["umount", str(self.root / "data")], check=False).returncode:
                break
            time.sleep(1)
        subprocess.run(["losetup", "-d", self.device], check=False)


def worker_memory():
    """The high-water mark of the backup process, in bytes."""
    for proc in Path("/proc").iterdir():
        if proc.name.isdigit():
            try:
                if (proc / "comm").read_text().strip() == "lucid-backup":
                    for line in (proc / "status").read_text().splitlines():
                        if line.startswith("VmHWM:"):
                            return int(line.split()[1]) << 10
            except OSError:
                pass
    return 0


def fill(appliance, mib, share, seed):
    """`share` of the data set: six tenths documents, two tenths keys, one tenth each of indexed texts
    and files. A part of 1 % is the newest entries, changed, as sessions and orders change."""
    chance = random.Random(seed)
    document, cache = appliance.clients()
    database = document.lucid
    count = int(mib * 0.6 * 1024 * share)
    batch = []
    for n in range(count):
        batch.append({"_id": n, "user": chance.randrange(10**6), "when": seed, "text": text(chance, 900)})
        if len(batch) == 500 or n + 1 == count:
            if share == 1:
                database.orders.insert_many(batch, ordered=False)
            else:
                for one in batch:
                    database.orders.replace_one({"_id": one["_id"]}, one, upsert=True)
            batch = []
    if share == 1:
        database.orders.create_index("user")
    pipe = cache.pipeline(transaction=False)
    for n in range(int(mib * 0.2 * 1024 * share)):
        pipe.set(f"lucid:cache:{n}", text(chance, 1000))
        if n % 500 == 499:
            pipe.execute()
    pipe.execute()
    search(appliance, mib, share, chance)
    volume = appliance.root / "data/chunks"
    for n in range(max(1, int(mib * 0.1 * share / 4))):
        (volume / str(n)).write_bytes(chance.randbytes(4 << 20))
    os.sync()


def search(appliance, mib, share, chance):
    import base64
    import http.client
    from urllib.parse import urlsplit

    uri = urlsplit(appliance.uri("search"))
    connection = http.client.HTTPConnection("127.0.0.1", appliance.ports[2])
    login = base64.b64encode(f"{uri.username}:{uri.password}".encode()).decode()
    lines = []

    def send():
        body = "\n".join(lines) + "\n"
        connection.request("POST", "/_bulk", body, {"Authorization": f"Basic {login}", "Content-Type": "application/x-ndjson"})
        answer = json.loads(connection.getresponse().read())
        if answer.get("errors"):
            raise BenchError("indexing", str(answer)[:300], "see above")
        lines.clear()

    for n in range(int(mib * 0.1 * 1024 * share)):
        lines.append(json.dumps({"index": {"_index": "articles", "_id": str(n)}}))
        lines.append(json.dumps({"title": text(chance, 40), "text": text(chance, 900)}))
        if len(lines) >= 2000:
            send()
    if lines:
        send()


class Client(threading.Thread):
    """Reads and writes one document and one key after the other, with a little rest."""

    def __init__(self, appliance):
        super().__init__(daemon=True)
        self.document, self.cache = appliance.clients()
        self.seen, self.over = [], False

    def run(self):
        chance = random.Random(7)
        orders = self.document.lucid.probe
        while not self.over:
            began = time.monotonic()
            orders.replace_one({"_id": chance.randrange(1000)}, {"at": began}, upsert=True)
            orders.find_one({"_id": chance.randrange(1000)})
            self.cache.set("probe", str(began))
            self.cache.get("probe")
            self.seen.append((time.monotonic() - began) * 1000)
            time.sleep(0.005)

    def take(self):
        seen, self.seen = self.seen, []
        return sorted(seen)[int(len(seen) * 0.99) - 1]


def restic(words, repository, *arguments):
    env = dict(os.environ, RESTIC_PASSWORD=words, HOME="/nonexistent")
    began = time.monotonic()
    output = run("restic", "-r", str(repository), "--no-cache", *arguments, env=env)
    return time.monotonic() - began, output


def measure(options, work):
    appliance = Appliance(options, work)
    found = {}
    try:
        appliance.do("volume", "create", "chunks", "--type", "chunks", "--size", f"{max(1, options.mib // 512)}G")
        say(f"filling {options.mib} MiB")
        fill(appliance, options.mib, 1, 1)
        client = Client(appliance)
        client.start()
        time.sleep(15)
        idle = client.take()
        say("first backup")
        first, peak = appliance.timed("backup", "create", "--repository", "local")
        busy = client.take()
        found["p99 idle"], found["p99 during"] = idle, busy
        client.over = True
        client.join()
        words = json.loads(run(appliance.lucid, "--root", str(appliance.root), "--json", "backup", "key", "show"))["words"]

        def backups(which):
            # A repository that is not there yet is told by the exit code.
            listed = subprocess.run([appliance.lucid, "--root", str(appliance.root), "--json", "backup", "list"], capture_output=True, text=True, check=False)
            return json.loads(listed.stdout)[which]["backups"]

        one = backups(0)[-1]
        size = sum(part["bytes"] for part in one["parts"])
        found["bytes"], found["first"], found["peak"] = size, first, peak
        found["first added"] = sum(part["added"] for part in one["parts"])
        found["parts"] = {part["name"]: part["seconds"] for part in one["parts"]}
        # Without a client, which takes a core: what is compared with restic.
        say("the same to an empty repository, without clients")
        again, more = appliance.timed("backup", "create", "--repository", "alone")
        found["alone"], found["peak"] = again, max(peak, more)
        one = backups(1)[-1]
        found["size alone"] = sum(part["bytes"] for part in one["parts"])
        say("second backup after 1 % of change")
        fill(appliance, options.mib, 0.01, 2)
        second, _ = appliance.timed("backup", "create", "--repository", "alone")
        two = backups(1)[-1]
        found["second"] = second
        found["second added"] = sum(part["added"] for part in two["parts"])
        found["first added"] = sum(part["added"] for part in one["parts"])
        found["second parts"] = {part["name"]: (part["added"], before["added"], part["seconds"]) for part, before in zip(two["parts"], one["parts"])}
        # What restic is given: the very files of the backup.
        repository = appliance.root / "data/backups/alone"
        dump = Path(work, "root/data/dump")
        say("restic on the same files")
        fetched = []
        for part in one["parts"]:
            seconds, _ = restic(words, repository, "restore", part["snapshot"], "--target", str(dump / part["name"].replace(":", "-")))
            fetched.append(seconds)
        found["restic restore"] = sum(fetched)
        run("sync")
        theirs = Path(work, "root/data/restic")
        restic(words, theirs, "init")
        drop_caches()
        found["restic"], _ = restic(words, theirs, "backup", str(dump))
        say("lucid on the same files")
        found["files"] = archive(appliance, words, dump)
        shutil.rmtree(dump)
        say("restoring the same parts with lucid")
        found["restore"] = fetch(appliance, one, words, repository, dump)
        if options.drill:
            say("drill")
            found["drill"], found["drill peak"] = appliance.timed("backup", "drill", "--repository", "alone")
    finally:
        appliance.close()
    return found


def drop_caches():
    run("sync")
    Path("/proc/sys/vm/drop_caches").write_text("3")


def worker(appliance, words, repository, work, make=False):
    """Seconds of a piece of work, by the process that does it in an appliance."""
    place = {"kind": "directory", "path": str(repository)}
    request = {"place": place, "key": words, "host": "bench", "make": make, "append_only": False, "work": work}
    began = time.monotonic()
    result = subprocess.run([appliance.lucid, "backup-worker"], input=json.dumps(request), capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(work["do"], result.stdout[-500:], "see above")
    return time.monotonic() - began


def archive(appliance, words, dump):
    """The files of the dump into a new repository."""
    drop_caches()
    files = {"part": "volume:dump", "path": str(dump), "volume": "chunks", "quota": None}
    scratch = appliance.root / "data/scratch"
    work = {
        "do": "create", "id": "20260101T000000Z", "taken": "2026-01-01T00:00:00Z", "stores": [], "files": [files],
        "scratch": str(scratch), "rest": 0, "share": [0, 24],
    }
    return worker(appliance, words, appliance.root / "data/files", work, make=True)


def fetch(appliance, backup, words, repository, dump):
    """Every part into a directory."""
    total = 0
    for part in backup["parts"]:
        drop_caches()
        name = part["name"]
        to = str(dump / name.replace(":", "-"))
        work = {"do": "fetch", "backup": backup["id"], "part": name, "below": "/" + name.replace(":", "/"), "to": to, "dry_run": False}
        total += worker(appliance, words, repository, work)
    return total


def one_collection(options, work):
    """A single collection that is many times larger than the memory of the process."""
    appliance = Appliance(options, work)
    try:
        document, _ = appliance.clients()
        orders, chance = document.lucid.orders, random.Random(3)
        texts = [text(chance, 4000) for _ in range(5000)]
        size, n = 0, 0
        while size < options.mib << 20:
            batch = [{"_id": n + i, "text": chance.choice(texts), "noise": chance.randbytes(2000)} for i in range(500)]
            orders.insert_many(batch, ordered=False)
            n += len(batch)
            size += sum(2100 + len(one["text"]) for one in batch)
        say("backup")
        seconds, peak = appliance.timed("backup", "create", "--repository", "local")
        say("drill")
        drill, most = appliance.timed("backup", "drill", "--repository", "local")
    finally:
        appliance.close()
    return [
        "| figure | measured | target |",
        "|---|---|---|",
        f"| backup | {size / 2**30:.1f} GiB in {n} documents: {seconds:.0f} s, {size / 2**20 / seconds:.0f} MiB/s | |",
        f"| peak memory of the process, backup | {peak / 2**20:.0f} MiB | ≤ 200 MiB: {'pass' if peak <= 200 << 20 else 'MISSED'} |",
        f"| drill: loaded anew and compared | {drill:.0f} s | |",
        f"| peak memory of the process, drill | {most / 2**20:.0f} MiB | ≤ 200 MiB: {'pass' if most <= 200 << 20 else 'MISSED'} |",
    ], max(peak, most) <= 200 << 20


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench backup")
    parser.add_argument("--lucid", required=True)
    parser.add_argument("--secantus", required=True)
    parser.add_argument("--mib", type=positive, default=1024, help="size of the data set")
    parser.add_argument("--drill", action="store_true", help="a drill as well, which loads every document anew")
    parser.add_argument("--collection", action="store_true", help="instead, all of it as one collection, and the memory that takes")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.collection:
        with tempfile.TemporaryDirectory(prefix="lucid-bench.") as work:
            about = machine(work)
            rows, holds = one_collection(options, work)
        told = f"Written by `scripts/bench backup --collection --mib {options.mib}` on {time.strftime('%Y-%m-%d')}; {about}."
        result = "\n".join([told, "", *rows]) + "\n"
        print(result)
        if options.out:
            put_between(options.out, COLLECTION_BEGIN, COLLECTION_END, result, "# Performance\n")
        return 0 if holds else 3
    with tempfile.TemporaryDirectory(prefix="lucid-bench.") as work:
        about = machine(work)
        found = measure(options, work)
    missed = []

    def judge(holds, name):
        if not holds:
            missed.append(name)
        return "pass" if holds else "MISSED"

    mib = found["bytes"] / 2**20
    ours, theirs = found["size alone"] / found["alone"], found["size alone"] / found["restic"]
    rows = [
        ("full backup, clients at work", f"{found['first']:.1f} s ({mib:.0f} MiB)", "< 300 s", found["first"] < 300),
        ("full backup, no clients", f"{found['alone']:.1f} s, {ours / 2**20:.1f} MiB/s", None, None),
        ("restic backup of the same files", f"{found['restic']:.1f} s, {theirs / 2**20:.1f} MiB/s", None, None),
        ("throughput, of restic's", f"{ours / theirs:.2f} ×", "≥ 1 ×", ours >= theirs),
        ("the dump's files alone, of restic's throughput", f"{found['files']:.1f} s: {found['restic'] / found['files']:.2f} ×", None, None),
        ("second backup after 1 % change, bytes written", f"{100 * found['second added'] / found['first added']:.1f} %", "≤ 5 %", found["second added"] <= 0.05 * found["first added"]),
        ("second backup, time of the first", f"{found['second'] / found['alone']:.2f} × ({found['second']:.1f} s)", "≤ 0.3 ×", found["second"] <= 0.3 * found["alone"]),
        ("restore of all parts into directories", f"{found['restore']:.1f} s; restic {found['restic restore']:.1f} s: {found['restic restore'] / found['restore']:.2f} ×", "≥ 0.8 ×", found["restic restore"] >= 0.8 * found["restore"]),
        ("peak memory of the process, backup", f"{found['peak'] / 2**20:.0f} MiB", "≤ 200 MiB", found["peak"] <= 200 << 20),
        ("client p99 (two writes, two reads), idle to backup", f"{found['p99 idle']:.1f} ms to {found['p99 during']:.1f} ms: {found['p99 during'] / found['p99 idle']:.2f} ×", "≤ 2 ×", found["p99 during"] <= 2 * found["p99 idle"]),
    ]
    if options.drill:
        rows.append(("drill: every datastore loaded and compared", f"{found['drill']:.1f} s, {found['drill peak'] / 2**20:.0f} MiB at the peak", None, None))
    arguments = f" --mib {options.mib}" if "--mib" in sys.argv else ""
    lines = [
        f"Written by `scripts/bench backup{arguments}` on {time.strftime('%Y-%m-%d')}; {about}; a loop device with direct I/O.",
        "",
        "Seconds of each part of the first backup: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in found["parts"].items()) + ".",
        "",
        "The second backup by part (bytes written of the first's; seconds): " + ", ".join(f"{name} {100 * added / max(1, before):.1f} %, {seconds:.1f} s" for name, (added, before, seconds) in found["second parts"].items()) + ".",
        "",
        "| figure | measured | target |",
        "|---|---|---|",
    ]
    for name, value, target, holds in rows:
        lines.append(f"| {name} | {value} | {'' if target is None else f'{target}: {judge(holds, name)}'} |")
    result = "\n".join(lines) + "\n"
    print(result)
    if options.out:
        put_between(options.out, BEGIN, END, result, "# Performance\n")
    for name in missed:
        say(f"target missed: {name}")
    return 3 if missed else 0


try:
    sys.exit(main())
except BenchError as error:
    print(f"bench: failed: {error.step}\n  why:  {error.why}\n  do:   {error.todo}", file=sys.stderr)
    sys.exit(1)
