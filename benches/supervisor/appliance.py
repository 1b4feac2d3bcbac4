"""Lucid itself: a root folder, `lucid supervise`, and what it says."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import wire
from common import clean_env, start_daemon, stop_daemon, tail
from shared import BenchError

VOLUMES = {"document": "mongodb", "cache": "redis"}


class Lucid:
    """One appliance in a folder."""

    def __init__(self, binary, folder, engines, ports, tuning):
        """`engines`: role to program; `ports`: role to port; a role without a program is off."""
        self.binary = binary
        self.root = folder
        self.engines = engines
        self.ports = ports
        self.log = folder.parent / f"{folder.name}.log"
        self.process = None
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        self._configure(tuning)

    def _configure(self, tuning):
        lines = []
        for role in ("document", "cache"):
            lines.append(f"[datastore.{role}]")
            if role in self.engines:
                lines += ["enabled = true", f"port = {self.ports[role]}"]
                lines.append(f'binary = "{self.engines[role]}"')
            else:
                lines.append("enabled = false")
        lines += ["[probe]", 'interval = "1s"']
        if not tuning:
            lines += ["[tuning]", "enabled = false"]
        if self._has_api_port():
            lines += ["[api]", f"port = {self.ports['api']}"]
        conf = self.root / "etc/lucid/lucid.toml"
        conf.parent.mkdir(parents=True)
        conf.write_text("\n".join(lines) + "\n", encoding="utf-8")
        self._ask("config", "check")

    def _ask(self, *args):
        command = [str(self.binary), "--root", str(self.root), *args]
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=clean_env(), timeout=30
        )
        if result.returncode:
            raise BenchError(
                f"asking lucid ({' '.join(args)})",
                f"exit {result.returncode}: {(result.stderr or result.stdout).strip()[-600:]}",
                "is LUCID_BIN a program of this revision? build it with cargo build --release",
            )
        return result.stdout

    def _has_api_port(self):
        section = ""
        for line in self._ask("config", "default").splitlines():
            text = line.strip().lstrip("# ")
            if text.startswith("[") and text.endswith("]"):
                section = text
            elif section == "[api]" and text.split("=")[0].strip() == "port":
                return True
        return False

    # --- running ---

    def start(self):
        """Spawns `lucid supervise`; returns the moment before."""
        started = time.perf_counter()
        argv = [self.binary, "--root", self.root, "supervise"]
        self.process = start_daemon(argv, self.root, self.log)
        return started

    def status(self):
        """The status snapshot over the unix socket; `None` while nobody answers."""
        try:
            body = wire.http_get(self.root / "run/lucid/lucid.sock", "/api/v1/database/status")
            return json.loads(body)
        except (OSError, wire.NotYet, ValueError):
            return None

    def wait_ready(self, limit=120):
        """Waits until every datastore is ready; returns the moment at which it was seen."""
        deadline = time.monotonic() + limit
        snapshot = None
        while time.monotonic() < deadline:
            snapshot = self.status()
            now = time.perf_counter()
            if snapshot and all(self.state(snapshot, role) == "ready" for role in self.engines):
                return now
            if self.process.poll() is not None:
                break
            time.sleep(0.001)
        states = snapshot and [
            {key: store.get(key) for key in ("name", "state", "reason")}
            for store in snapshot.get("datastores", [])
        ]
        raise BenchError(
            "waiting for lucid to be ready",
            f"exit code {self.process.poll()}, last status {states}\n{tail(self.log)}",
            "run the same by hand: lucid --root DIR supervise, and lucid --root DIR doctor",
        )

    @staticmethod
    def state(snapshot, role):
        """State of one datastore in a snapshot."""
        stores = snapshot.get("datastores", [])
        return next((store["state"] for store in stores if store["name"] == role), None)

    def engine_pids(self):
        """Role to process of the engine."""
        snapshot = self.status() or {"datastores": []}
        return {store["name"]: store["pid"] for store in snapshot["datastores"] if store["pid"]}

    def stop(self):
        """Stops it and its engines."""
        if self.process and not stop_daemon(self.process):
            raise BenchError(
                "stopping lucid",
                f"it did not end within 45 s of SIGTERM\n{tail(self.log)}",
                "look for a datastore that does not stop: lucid --root DIR status",
            )

    # --- what it made ---

    def login(self, role):
        """User and password of a client."""
        text = self._ask("credentials", "show", role)
        uri = next((word.strip('",') for word in text.split() if "://" in word), "")
        parts = urlsplit(uri)
        if not parts.password:
            raise BenchError(
                f"reading the credentials of {role}",
                "lucid credentials show printed no URI with a password",
                "see what it prints; the benchmark expects scheme://user:password@host:port/",
            )
        return unquote(parts.username), unquote(parts.password)

    def accounts(self, role):
        """All accounts that lucid made for an engine, the supervisor's first."""
        text = (self.root / f"etc/lucid/credentials/{role}.json").read_text(encoding="utf-8")
        made = json.loads(text)
        return [(made[key]["user"], made[key]["password"]) for key in ("supervisor", "client")]

    def conf_dir(self, role):
        """Where it renders an engine's configuration."""
        return self.root / "run/lucid/conf" / role

    def data_dir(self, role):
        """An engine's data."""
        return self.root / "data" / VOLUMES[role]

    def wipe(self):
        """Everything but lucid.toml: the next start is a first start."""
        for name in ("run", "data", "etc/lucid/credentials", "var"):
            shutil.rmtree(self.root / name, ignore_errors=True)


def command_line(pid):
    """Arguments of a running engine, its program as a full path."""
    raw = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    return [os.readlink(f"/proc/{pid}/exe"), *(part.decode() for part in raw[1:])]
