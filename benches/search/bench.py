"""Measures the search node beside noida-db, and tantivy in process as the limit.

Called by scripts/bench, which installs and builds what this needs.
"""

import argparse
import base64
import datetime
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from shared import BenchError, free_ports, machine, positive, put_between, say

BEGIN = "<!-- bench search: begin -->"
END = "<!-- bench search: end -->"

#: The data set of a board with 1 GB has this much for buffers and caches.
MEMORY = 64 << 20
LOGIN = "bench:correct horse"
#: noida-db is asked for so long at most; its queries take most of a second.
PEER_SECONDS = 10
STARTS = 10


def status_of(pid, key):
    """A line of /proc/PID/status in MB."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024 / 1e6
    raise BenchError("reading the memory of a process", f"no {key} of process {pid}", "see whether it lives")


def written(pid):
    """Bytes that a process had written to a disk."""
    for line in Path(f"/proc/{pid}/io").read_text(encoding="utf-8").splitlines():
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise BenchError(
        "reading what a process wrote", f"no write_bytes of process {pid}", "see whether it lives"
    )


class Node:
    """A search node."""

    def __init__(self, program, folder):
        self.program = program
        self.port = free_ports(1)[0]
        digest = hashlib.pbkdf2_hmac("sha512", b"correct horse", b"salt", 1000)
        pair = "$".join(base64.b64encode(part).decode() for part in (b"salt", digest[:32]))
        self.config = folder / "node.toml"
        self.config.write_text(
            f'listen = ["127.0.0.1:{self.port}"]\ndata = "{folder}/data"\nmemory_bytes = {MEMORY}\n'
            f'[[user]]\nname = "bench"\nrole = "admin"\npassword_hash = "{{PBKDF2}}1000${pair}"\n',
            encoding="utf-8",
        )
        self.log = folder / "node.log"
        self.process = None

    def get(self, path):
        """The answer, None while there is none."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        token = base64.b64encode(LOGIN.encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return json.load(answer)
        except OSError:
            return None

    def start(self):
        """Milliseconds until it says that its indices are there."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.program, "search-node", "--config", self.config], stderr=log, stdout=log
            )
        while True:
            health = self.get("/_cluster/health")
            if health and health["status"] in ("green", "yellow"):
                return (time.monotonic() - began) * 1000
            if self.process.poll() is not None or time.monotonic() - began > 60:
                raise BenchError(
                    "starting the node", self.log.read_text()[-2000:], "mend what it complains of"
                )
            time.sleep(0.002)

    def stop(self, how=signal.SIGTERM):
        """Ends it."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(timeout=60)


class Peer:
    """noida-db, with its Elasticsearch interface alone."""

    def __init__(self, program, folder):
        self.port = free_ports(1)[0]
        self.log = folder / "noida.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "start", "--data-dir", folder / "noida", "--only", "elasticsearch",
                 "--elasticsearch-port", str(self.port)],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder,
            )
        began = time.monotonic()
        while time.monotonic() - began < 30:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise BenchError(
            "starting noida-db", self.log.read_text()[-2000:], "mend what it complains of"
        )

    def stop(self):
        """Ends it."""
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def job(load, *args):
    """Runs one job of the load program."""
    result = subprocess.run(
        [load, *map(str, args)], capture_output=True, text=True, check=False, timeout=1200
    )
    if result.returncode != 0:
        raise BenchError(
            f"the load's job {args[0]}", result.stderr.strip()[-1000:], "--keep leaves the work folder"
        )
    return json.loads(result.stdout)


def measure_node(args, folder):
    """Everything about the search node."""
    found = {}
    node = Node(args.lucid, folder)
    try:
        node.start()
        time.sleep(5)
        found["idle_rss"] = status_of(node.process.pid, "VmRSS")
        address = f"127.0.0.1:{node.port}"
        say("the node: bulk")
        found["bulk"] = job(args.load, "bulk", address, LOGIN, args.docs, 1000, 2)
        # Merges of what was just written are part of any day, but not of a query.
        time.sleep(10)
        for kind, requests in (("term", args.queries), ("match", args.queries)):
            say(f"the node: {kind}")
            found[kind] = job(args.load, "ask", address, LOGIN, kind, requests, 4, 300)
        say("the node: aggregations")
        found["aggs"] = job(args.load, "ask", address, LOGIN, "aggs", 200, 1, 300)
        time.sleep(10)
        before = written(node.process.pid)
        say("the node: 10 single writes in 10 s")
        found["singles"] = job(args.load, "singles", address, LOGIN, 10)
        # The refresh after the last one belongs to it.
        time.sleep(2)
        found["singles_bytes"] = written(node.process.pid) - before
        found["peak_rss"] = status_of(node.process.pid, "VmHWM")
        found["end_rss"] = status_of(node.process.pid, "VmRSS")
        say("the node: starts")
        starts = {signal.SIGTERM: [], signal.SIGKILL: []}
        for _ in range(STARTS):
            for how, times in starts.items():
                node.stop(how)
                times.append(node.start())
        found["ready"] = statistics.median(starts[signal.SIGTERM])
        found["ready_max"] = max(starts[signal.SIGTERM])
        found["ready_killed"] = statistics.median(starts[signal.SIGKILL])
        count = node.get("/bench/_count")["count"]
        if count != args.docs + 10:
            raise BenchError(
                "counting after the kills",
                f"{args.docs + 10} documents were acknowledged, {count} are there",
                "this is a fault of the node: --keep leaves its data",
            )
    finally:
        node.stop()
    return found


def measure_peer(args, folder):
    """noida-db."""
    peer = Peer(args.noida, folder)
    found = {}
    try:
        address = f"127.0.0.1:{peer.port}"
        say("noida-db: bulk")
        found["bulk"] = job(args.load, "bulk", address, LOGIN, args.docs, 1000, 2)
        for kind, connections in (("term", 4), ("match", 4), ("aggs", 1)):
            say(f"noida-db: {kind}")
            found[kind] = job(
                args.load, "ask", address, LOGIN, kind, args.queries, connections, PEER_SECONDS
            )
    finally:
        peer.stop()
    return found


def targets(node):
    """Rows of what is asked for, and whether each holds."""
    rows = []

    def row(what, value, sign, limit, unit, digits=0):
        holds = value >= limit if sign == "≥" else value <= limit
        shown = f"{value:,.{digits}f}{unit}"
        rows.append((what, shown, f"{sign} {limit:,}{unit}", "pass" if holds else "miss"))

    row("bulk, durability request", node["bulk"]["docs_per_s"], "≥", 10000, " docs/s")
    row("term query, 4 connections", node["term"]["per_s"], "≥", 4000, " /s")
    row("the same, p95", node["term"]["p95_ms"], "≤", 5, " ms", 2)
    row("match query of 2 words, 4 connections", node["match"]["per_s"], "≥", 2000, " /s")
    row("the same, p95", node["match"]["p95_ms"], "≤", 5, " ms", 2)
    row("terms + date_histogram, p95", node["aggs"]["p95_ms"], "≤", 30, " ms", 1)
    row("RSS when idle, no index", node["idle_rss"], "≤", 15, " MB", 1)
    row("RSS after the whole run", node["end_rss"], "≤", 130, " MB", 1)
    row("10 single writes in 10 s, written", node["singles_bytes"] / 1e6, "≤", 1, " MB", 2)
    row("exec to ready, after a clean stop, median", node["ready"], "≤", 300, " ms")
    return rows


def table(head, rows):
    """A table of markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def render(args, found, folder, load):
    """The section."""
    node, peer, direct = found["node"], found["peer"], found["direct"]
    verdicts = targets(node)
    lines = [
        f"Written by `scripts/bench search --out docs/performance.md` on {datetime.date.today()}.",
        "",
        f"- machine: {machine(folder)}; load average {load:.2f} before the run",
        f"- {args.docs:,} documents of {node['bulk']['bytes_per_doc']:.0f} bytes in bulks of 1,000 "
        f"over 2 connections; {args.queries:,} queries of each kind, 10 hits each; HTTP with "
        "keep-alive, the load on the same machine as the node",
        "",
    ]
    lines += table(("figure", "measured", "target", "verdict"), verdicts)
    lines += [
        f"Highest RSS during the run: {node['peak_rss']:.1f} MB. Slowest start: "
        f"{node['ready_max']:.0f} ms; median after kill -9: {node['ready_killed']:.0f} ms.",
        "",
    ]
    rows = []
    for what, pick in (
        ("bulk, docs/s", lambda f: f["bulk"]["docs_per_s"]),
        ("term, /s", lambda f: f["term"]["per_s"]),
        ("match, /s", lambda f: f["match"]["per_s"]),
        ("terms + date_histogram, /s", lambda f: f["aggs"]["per_s"]),
    ):
        limit = direct["index_docs_per_s"] if what.startswith("bulk") else pick(direct)
        mine, other = pick(node), pick(peer)
        rows.append(
            (
                what,
                f"{mine:,.0f}",
                f"{other:,.1f}",
                f"{mine / other:,.1f} ×",
                f"{limit:,.0f}",
                f"{mine / limit * 100:.0f} %",
            )
        )
    lines += table(
        ("", "lucid", f"noida-db {args.noida_version}", "lucid against it", "tantivy in process", "left by HTTP, JSON and the log"),
        rows,
    )
    return "\n".join(lines), any(word == "miss" for *_, word in verdicts)


def main():
    """See the module."""
    parser = argparse.ArgumentParser(prog="scripts/bench search", description=__doc__)
    parser.add_argument("--docs", type=positive, default=100_000, help="documents [100000]")
    parser.add_argument("--queries", type=positive, default=20_000, help="of each kind [20000]")
    parser.add_argument("--out", type=Path, help="write the section into this markdown file")
    parser.add_argument(
        "--no-gate", action="store_true", help="end with 0 even when a target is missed"
    )
    parser.add_argument("--keep", action="store_true", help="keep the work folder")
    for hidden in ("--lucid", "--load", "--noida"):
        parser.add_argument(hidden, type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--noida-version", required=True, help=argparse.SUPPRESS)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    folder = Path(tempfile.mkdtemp(prefix="lucid-bench-"))
    found = {}
    try:
        found["node"] = measure_node(args, folder)
        say("tantivy in process")
        (folder / "direct").mkdir()
        found["direct"] = job(args.load, "direct", folder / "direct", args.docs, args.queries, 4)
        found["peer"] = measure_peer(args, folder)
        text, missed = render(args, found, folder, load)
        print(text)
        if args.out:
            put_between(args.out, BEGIN, END, text, "# Performance\n")
    except BenchError as error:
        print(f"bench: failed: {error.step}", file=sys.stderr)
        print(f"  why:  {error.why}\n  do:   {error.todo}", file=sys.stderr)
        return 1
    finally:
        if args.keep:
            say(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 3 if missed and not args.no_gate else 0


if __name__ == "__main__":
    sys.exit(main())
