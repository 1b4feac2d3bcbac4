"""scripts/bench services: the data services through the HTTP API, beside the drivers on the same
datastores; what the API adds to an idle supervisor; the size of the page."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from shared import BenchError, free_ports, machine, positive, put_between, say

BEGIN, END = "<!-- bench services: begin -->", "<!-- bench services: end -->"
SESSIONS = 10_000
WORK = {
    # what, what it is called, least of the driver's throughput, least a second, greatest p95 in ms
    "documents": ("document reads by id", 0.6, 1000, 10),
    "cache": ("cache reads", None, 10_000, None),
    "search": ("searches", None, 500, 100),
}
OVER = {"session": "session create", "limit": "rate-limit check"}


class Appliance:
    def __init__(self, options, root, api):
        self.lucid, self.root = options.lucid, Path(root)
        os.chmod(root, 0o755)
        (self.root / "etc/lucid").mkdir(parents=True)
        self.ports = free_ports(4)
        lines = ["tuning.enabled = false", 'panel.driver = "off"', "backup.enabled = false", f"api.enabled = {str(api).lower()}"]
        lines += ["api.requests_per_minute = 0", f"api.port = {self.ports[3]}"]
        for name, port in zip(("document", "cache", "search"), self.ports):
            lines.append(f"datastore.{name}.port = {port}")
        (self.root / "etc/lucid/lucid.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
        environment = dict(os.environ, LUCID_ENGINE_PATH=str(Path(options.secantus).parent))
        self.process = subprocess.Popen([self.lucid, "--root", str(self.root), "supervise"], stderr=subprocess.DEVNULL, env=environment)
        began = time.monotonic()
        while self.state() != "ready":
            if time.monotonic() - began > 120:
                self.close()
                raise BenchError("starting the appliance", "it is not ready", "look at its journal")
            time.sleep(0.2)

    def run(self, *arguments):
        result = subprocess.run([self.lucid, "--root", str(self.root), *arguments], capture_output=True, text=True, check=False)
        return result.stdout

    def state(self):
        try:
            return json.loads(self.run("--json", "status"))["state"]
        except (ValueError, KeyError):
            return None

    def memory(self):
        """Resident memory of the supervisor, in bytes, when nothing happens."""
        time.sleep(5)
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) << 10
        return 0

    def close(self):
        self.process.terminate()
        self.process.wait(120)


def fill(appliance, key):
    base = f"http://127.0.0.1:{appliance.ports[3]}/api/v1/database"

    def send(path, body, method="POST"):
        request = urllib.request.Request(base + path, json.dumps(body).encode(), {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read())

    for begin in range(0, SESSIONS, 500):
        documents = [{"session_id": f"s{n}", "user_id": f"u{n % 1000}", "status": "active", "metadata": {"text": f"word{n % 100} of session {n}"}} for n in range(begin, begin + 500)]
        send("/documents/sessions", {"documents": documents})
    for n in range(SESSIONS):
        send("/redis/cache", {"operation": "set", "key": f"lucid:cache:bench:{n}", "value": "v" * 100, "ttl": 3600})
    began = time.monotonic()
    while send("/elasticsearch/search", {"index": "lucid-sessions", "size": 1})["results"]["total"] < SESSIONS:
        if time.monotonic() - began > 120:
            raise BenchError("waiting for the search indices", "they do not follow", "look at the status")
        time.sleep(1)


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench services")
    parser.add_argument("--lucid", required=True)
    parser.add_argument("--secantus", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--clients", type=positive, default=16)
    parser.add_argument("--seconds", type=positive, default=6)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(prefix="lucid-bench.") as work:
        os.chmod(work, 0o755)
        about = machine(work)
        for api in (False, True):
            root = Path(work, str(api))
            root.mkdir()
            appliance = Appliance(options, root, api)
            try:
                found[f"memory {api}"] = appliance.memory()
                if not api:
                    continue
                appliance.run("schema", "apply")
                key = appliance.run("api", "key", "create", "bench", "--role", "admin").strip()
                page = 0
                for path in ("", "page.css", "page.js"):
                    with urllib.request.urlopen(f"http://127.0.0.1:{appliance.ports[3]}/{path}") as answer:
                        page += len(answer.read())
                found["page"] = page
                say("filling")
                fill(appliance, key)
                stores = {"documents": "document", "search": "search"}
                for what in [*WORK, *OVER]:
                    for via in ("driver", "api"):
                        say(f"{what} by {via}")
                        address = f"127.0.0.1:{appliance.ports[3]}" if via == "api" else appliance.run("credentials", "show", stores.get(what, "cache")).strip()
                        command = [options.load, what, via, address, key, str(options.clients), str(options.seconds), str(SESSIONS)]
                        result = subprocess.run(command, capture_output=True, text=True, check=False)
                        if result.returncode:
                            raise BenchError(f"{what} by {via}", result.stderr.strip(), "see above")
                        found[what, via] = json.loads(result.stdout)
            finally:
                appliance.close()
    missed, rows = [], []

    def row(name, value, target, holds):
        if holds is False:
            missed.append(name)
        rows.append(f"| {name} | {value} | {'' if holds is None else target + ': ' + ('pass' if holds else 'MISSED')} |")

    for what, (name, share, least, p95) in WORK.items():
        direct, api = found[what, "driver"], found[what, "api"]
        times = api["per_second"] / direct["per_second"]
        row(f"{name} through the API", f"{api['per_second']:.0f} /s", f"≥ {least} /s", api["per_second"] >= least)
        row(f"{name}, of the driver's {direct['per_second']:.0f} /s", f"{times:.2f} ×", f"≥ {share} ×", None if share is None else times >= share)
        row(f"{name}, p50 and p95 through the API", f"{api['p50']:.1f} and {api['p95']:.1f} ms (driver {direct['p50']:.1f} and {direct['p95']:.1f})", f"p95 ≤ {p95} ms", None if p95 is None else api["p95"] <= p95)
    for what, name in OVER.items():
        direct, api = found[what, "driver"], found[what, "api"]
        over = api["p95"] - direct["p95"]
        row(f"{name}, p95 through the API over Redis directly", f"{api['p95']:.2f} − {direct['p95']:.2f} = {over:.2f} ms; {api['per_second']:.0f} /s", "< 1 ms", over < 1)
    added = found["memory True"] - found["memory False"]
    row("idle supervisor with the API on its port", f"{found['memory True'] / 2**20:.1f} MiB resident, {added / 2**20:+.1f} MiB beside one that serves it on the socket alone", "≤ +4 MiB", added <= 4 << 20)
    row("the page with its style and script", f"{found['page'] / 1024:.1f} KiB", "≤ 60 KB", found["page"] <= 60_000)
    lines = [
        f"Written by `scripts/bench services` on {time.strftime('%Y-%m-%d')}; {about}; {options.clients} clients that share the two cores with the datastores and the appliance, {SESSIONS} documents, keys and searchable documents.",
        "",
        "| figure | measured | target |",
        "|---|---|---|",
        *rows,
    ]
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
