"""scripts/bench volume: how long operations on volumes take, and what btrfs costs the engines' writes
beside ext4 on the same device, in time and in bytes written to it."""

import argparse
import base64
import hashlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from shared import BenchError, free_ports, machine, positive, put_between, say

BEGIN, END = "<!-- bench volume: begin -->", "<!-- bench volume: end -->"
# name, mkfs, mount options, preparation of the engine's directory
LAYOUTS = [
    ("ext4", ["mkfs.ext4", "-q", "-F"], "noatime", None),
    ("btrfs", ["mkfs.btrfs", "-q", "-f"], "noatime", "subvolume"),
    ("btrfs, quota", ["mkfs.btrfs", "-q", "-f"], "noatime", "quota"),
    ("btrfs, quota, as Lucid mounts an SSD", ["mkfs.btrfs", "-q", "-f", "-m", "dup"], "noatime,ssd,nodiscard", "quota"),
    ("btrfs, quota, one copy of metadata", ["mkfs.btrfs", "-q", "-f", "-m", "single"], "noatime", "quota"),
    ("btrfs, quota, nodatacow", ["mkfs.btrfs", "-q", "-f"], "noatime", "nodatacow"),
    ("btrfs, quota, zstd:1", ["mkfs.btrfs", "-q", "-f"], "noatime,compress=zstd:1", "quota"),
]
VALUE = 512


def run(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise BenchError(" ".join(command), result.stderr.strip(), "see above")
    return result.stdout


class Disk:
    """A loop device over a file, with a file system."""

    def __init__(self, work, bytes_):
        self.file = Path(work, "disk")
        self.at = Path(work, "mounted")
        self.at.mkdir()
        with open(self.file, "wb") as file:
            file.truncate(bytes_)
        # Direct, so that the host's page cache takes no part.
        self.device = run("losetup", "--find", "--show", "--direct-io=on", str(self.file)).strip()

    def make(self, mkfs, options, preparation):
        run(*mkfs, self.device)
        run("mount", "-o", options, self.device, str(self.at))
        volume = self.at / "volume"
        if preparation is None:
            volume.mkdir()
            return volume
        if preparation != "subvolume":
            run("btrfs", "quota", "enable", str(self.at))
        run("btrfs", "subvolume", "create", str(volume))
        if preparation != "subvolume":
            run("btrfs", "qgroup", "limit", "8G", str(volume))
        if preparation == "nodatacow":
            run("chattr", "+C", str(volume))
        return volume

    def written(self):
        """Bytes that went to the device (kernel doc, block/stat: the seventh number)."""
        stat = Path("/sys/class/block", Path(self.device).name, "stat").read_text(encoding="utf-8")
        return int(stat.split()[6]) * 512

    def unmount(self):
        # A deletion gives back its space after its command has ended.
        for _ in range(60):
            if not subprocess.run(["umount", str(self.at)], check=False).returncode:
                break
            time.sleep(1)

    def close(self):
        self.unmount()
        subprocess.run(["losetup", "-d", self.device], check=False)


def measure(disk, operations, payload, work):
    """Operations a second and bytes to the device per byte of user data."""
    os.sync()
    before, began = disk.written(), time.monotonic()
    work()
    seconds = time.monotonic() - began
    os.sync()
    return operations / seconds, (disk.written() - before) / payload


def redis_writes(disk, volume, options):
    """SETs of a cache that flushes every one."""
    (port,) = free_ports(1)
    arguments = ["--port", str(port), "--dir", str(volume), "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
    server = subprocess.Popen(["redis-server", *arguments], stdout=subprocess.DEVNULL)
    try:
        until(lambda: subprocess.run(["redis-cli", "-p", str(port), "ping"], capture_output=True, check=False).stdout == b"PONG\n")
        count = options.writes * 4

        def work():
            run("redis-benchmark", "-p", str(port), "-t", "set", "-n", str(count), "-c", "16", "-d", str(VALUE), "-r", "100000", "-q")

        return measure(disk, count, count * VALUE, work)
    finally:
        server.terminate()
        server.wait(30)


def by_clients(work):
    """Has 16 clients do `work`, each with its number."""
    threads = [threading.Thread(target=work, args=(client,)) for client in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def document_writes(disk, volume, options):
    """Inserts of a document store, each with j: true, by 16 clients."""
    import pymongo  # noqa: PLC0415 - only where this part runs

    (port,) = free_ports(1)
    arguments = ["--host", "127.0.0.1", "--port", str(port), "--storage-path", str(volume), "--sync-on-commit", "--cache-size", "256M"]
    server = subprocess.Popen([options.secantus, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client = pymongo.MongoClient("127.0.0.1", port, serverSelectionTimeoutMS=500)

        def answers():
            try:
                return client.admin.command("ping")
            except pymongo.errors.PyMongoError:
                return None

        until(answers)
        collection = client.bench.get_collection("writes", write_concern=pymongo.WriteConcern(w=1, j=True))
        each = options.writes // 16

        def insert(_):
            for _ in range(each):
                collection.insert_one({"text": os.urandom(VALUE // 2).hex()})

        return measure(disk, each * 16, each * 16 * VALUE, lambda: by_clients(insert))
    finally:
        server.terminate()
        server.wait(60)


def search_writes(disk, volume, options):
    """Documents of a search engine, each in its log on the disk before its answer, by 16 clients."""
    (port,) = free_ports(1)
    digest = hashlib.pbkdf2_hmac("sha512", b"bench", b"salt", 1000)
    pair = "$".join(base64.b64encode(part).decode() for part in (b"salt", digest[:32]))
    config = Path(volume).parent / "node.toml"
    config.write_text(
        f'listen = ["127.0.0.1:{port}"]\ndata = "{volume}/data"\nmemory_bytes = {256 << 20}\n'
        f'[[user]]\nname = "bench"\nrole = "admin"\npassword_hash = "{{PBKDF2}}1000${pair}"\n',
        encoding="utf-8",
    )
    server = subprocess.Popen([options.lucid, "search-node", "--config", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    headers = {"Authorization": "Basic " + base64.b64encode(b"bench:bench").decode(), "Content-Type": "application/json"}

    def call(connection, method, path, body=None):
        connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status

    def answers():
        try:
            return call(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "GET", "/_cluster/health") == 200
        except OSError:
            return False

    try:
        until(answers)
        each = options.writes // 16

        def put(client):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for number in range(each):
                status = call(connection, "PUT", f"/bench/_doc/{client}-{number}", {"text": os.urandom(VALUE // 2).hex()})
                if status not in (200, 201):
                    raise BenchError("writing a document", f"the answer was {status}", "look at the node's log")

        return measure(disk, each * 16, each * 16 * VALUE, lambda: by_clients(put))
    finally:
        server.terminate()
        server.wait(60)


def until(what, limit=60):
    began = time.monotonic()
    while not what():
        if time.monotonic() - began > limit:
            raise BenchError("waiting for an engine", f"it did not answer within {limit} s", "look at its output")
        time.sleep(0.1)


ENGINES = [("document store", document_writes), ("cache, each write flushed", redis_writes), ("search", search_writes)]


def writes(options, work):
    """Median of rounds for each layout; layouts take turns, so that the machine's moods hit all alike."""
    found = {}
    disk = Disk(work, 12 << 30)
    try:
        for number in range(options.rounds):
            for name, mkfs, mount, preparation in LAYOUTS:
                for engine, test in ENGINES:
                    volume = disk.make(mkfs, mount, preparation)
                    try:
                        result = test(disk, volume, options)
                    finally:
                        disk.unmount()
                    say(f"round {number + 1}, {engine} on {name}: {result[0]:.0f} writes/s, {result[1]:.1f} bytes a byte")
                    found.setdefault((engine, name), []).append(result)
    finally:
        disk.close()
    return {key: tuple(statistics.median(values) for values in zip(*results)) for key, results in found.items()}


class Appliance:
    """A supervisor whose data lies on a pool; only the cache runs."""

    def __init__(self, options, work):
        self.root, self.lucid = Path(work, "root"), options.lucid
        self.root.mkdir()
        os.chmod(work, 0o755)
        self.disk = Disk(work, (options.gib + 6) << 30)
        run("mkfs.btrfs", "-q", "-f", self.disk.device)
        data = self.root / "data"
        data.mkdir()
        run("mount", "-o", "noatime", self.disk.device, str(data))
        self.disk.at = data
        etc = self.root / "etc/lucid"
        etc.mkdir(parents=True)
        (port,) = free_ports(1)
        text = (
            f"tuning.enabled = false\npanel.driver = \"off\"\ndatastore.document.enabled = false\n"
            f"datastore.search.enabled = false\ndatastore.cache.port = {port}\n"
        )
        (etc / "lucid.toml").write_text(text, encoding="utf-8")
        self.process = subprocess.Popen([self.lucid, "--root", str(self.root), "supervise"], stderr=subprocess.DEVNULL)
        until(lambda: self.state() == "ready")

    def state(self):
        result = subprocess.run([self.lucid, "--root", str(self.root), "--json", "status"], capture_output=True, text=True, check=False)
        try:
            return json.loads(result.stdout).get("state")
        except ValueError:
            return None

    def timed(self, *arguments):
        """Milliseconds of a command, its start included."""
        began = time.monotonic()
        text = run(self.lucid, "--root", str(self.root), *arguments)
        return (time.monotonic() - began) * 1000, text

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        self.disk.close()


def operations(options, work):
    """Milliseconds of each operation, with data and many files in the volume."""
    appliance = Appliance(options, work)
    found = {}
    try:
        found["create"], _ = appliance.timed("volume", "create", "chunks", "--type", "chunks", "--size", f"{options.gib + 3}G")
        volume = appliance.root / "data/chunks"
        say(f"writing {options.gib} GiB")
        run("dd", "if=/dev/urandom", f"of={volume}/data", "bs=1M", f"count={options.gib << 10}", "conv=fsync", "status=none")
        say(f"making {options.files} files")
        for number in range(options.files):
            if number % 1000 == 0:
                (volume / str(number)).mkdir()
            (volume / str(number - number % 1000) / str(number)).touch()
        os.sync()
        takes = [appliance.timed("volume", "snapshot", "take", "chunks") for _ in range(5)]
        found["snapshot"] = statistics.median(milliseconds for milliseconds, _ in takes)
        found["usage of all volumes"] = statistics.median(appliance.timed("volume", "list")[0] for _ in range(20))
        found["a command that asks for nothing"] = statistics.median(appliance.timed("job", "list")[0] for _ in range(20))
        found["resize"] = statistics.median(appliance.timed("volume", "resize", "chunks", f"{options.gib + 3 + n % 2}G")[0] for n in range(5))
        found["rollback"], _ = appliance.timed("volume", "rollback", "chunks", takes[0][1].strip(), "--confirm", "chunks")
        found["delete of a snapshot"], _ = appliance.timed("volume", "snapshot", "delete", "chunks", takes[1][1].strip())
        found["delete"], _ = appliance.timed("volume", "delete", "chunks", "--confirm", "chunks")
    finally:
        appliance.close()
    return found


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench volume")
    parser.add_argument("--lucid", required=True)
    parser.add_argument("--secantus", required=True)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--writes", type=positive, default=4000, help="documents a round")
    parser.add_argument("--gib", type=positive, default=10, help="data in the volume")
    parser.add_argument("--files", type=positive, default=1_000_000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    missed = []
    with tempfile.TemporaryDirectory(prefix="lucid-bench.") as work:
        about = machine(work)
        timed = operations(options, work)
    with tempfile.TemporaryDirectory(prefix="lucid-bench.") as work:
        written = writes(options, work)

    def judge(holds, name):
        if not holds:
            missed.append(name)
        return "pass" if holds else "MISSED"

    arguments = " ".join(sys.argv[sys.argv.index("--rounds"):]) if "--rounds" in sys.argv else ""
    lines = [
        f"Written by `scripts/bench volume {arguments}`".rstrip() + f" on {time.strftime('%Y-%m-%d')}; {about}; a loop device with direct I/O.",
        "",
        f"Operations by command, the command's own start included, on a volume with {options.gib} GiB and {options.files:,} files:",
        "",
        "| operation | measured | target |",
        "|---|---|---|",
    ]
    for name, milliseconds in timed.items():
        limit = {"snapshot": 100, "a command that asks for nothing": None}.get(name, 1000)
        if name == "usage of all volumes":
            own = max(0, milliseconds - timed["a command that asks for nothing"])
            lines.append(f"| {name}, beyond a command that asks for nothing | {own:.1f} ms | ≤ 10 ms: {judge(own <= 10, name)} |")
        elif limit is None:
            lines.append(f"| {name} | {milliseconds:.1f} ms | |")
        else:
            lines.append(f"| {name} | {milliseconds:.0f} ms | ≤ {limit} ms: {judge(milliseconds <= limit, name)} |")
    lines += [
        "",
        f"Durable writes of {VALUE} bytes by 16 clients, median of {options.rounds} rounds in turn:",
        "",
        "| engine | layout | writes/s | of ext4 | bytes to the device a byte |",
        "|---|---|---|---|---|",
    ]
    for (engine, layout), (rate, amount) in written.items():
        share = rate / written[engine, "ext4"][0]
        verdict = "" if layout == "ext4" else f" ({judge(share >= 0.9, f'{engine} on {layout}')})"
        lines.append(f"| {engine} | {layout} | {rate:.0f} | {share:.2f} ×{verdict} | {amount:.1f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        put_between(options.out, BEGIN, END, text, "# Performance\n")
    for name in missed:
        say(f"target missed: {name}")
    return 3 if missed else 0


try:
    sys.exit(main())
except BenchError as error:
    print(f"bench: failed: {error.step}\n  why:  {error.why}\n  do:   {error.todo}", file=sys.stderr)
    sys.exit(1)
