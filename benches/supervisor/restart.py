"""kill -9 of redis until PING answers again, under each supervisor in turn."""

import os
import random
import re
import shutil
import signal
import statistics
import time

import peers
import wire
from appliance import Lucid
from common import GatedStart, tail
from shared import BenchError, free_ports, say

COLD = "redis alone, cold start"
#: Runs shorter than this would let the peers' own brakes against fast restarts decide.
UP = 3.2
POLL = 0.0002
LIMIT = 60


def answer(port, login, old_pid=None):
    """PING on a new connection: process id of the redis that answered, else `None`."""
    try:
        with wire.Redis(port, login) as redis:
            if redis.run(("PING",)) != b"PONG":
                return None
            moment = time.perf_counter()
            pid = int(redis.info("server")["process_id"])
            return None if pid == old_pid else (moment, pid)
    except wire.NotYet as error:
        # Loading its data it answers so; anything else would be the same for ever.
        if str(error).startswith(("WRONGPASS", "NOAUTH", "NOPERM")):
            raise
        return None
    except OSError:
        return None


def wait_answer(port, login, old_pid=None, log=None):
    """Asks every 0.2 ms; gives the moment of the PONG and the process that gave it."""
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found = answer(port, login, old_pid)
        if found:
            return found
        time.sleep(POLL)
    raise BenchError(
        "waiting for redis",
        f"no PONG within {LIMIT} s\n{tail(log) if log else ''}",
        "read the lines above; was the machine overloaded?",
    )


class Contestant:
    """One supervisor with its own redis on its own port."""

    def __init__(self, name, port, login, log, service=None):
        self.name = name
        self.port = port
        self.login = login
        self.log = log
        self.service = service
        self.times = []
        self.up_since = 0.0
        self.pid = None
        self._child = None

    def wait_up(self):
        """The first start; not measured."""
        _, self.pid = wait_answer(self.port, self.login, log=self.log)
        self.up_since = time.monotonic()

    def begin(self):
        """Starts redis from the harness, for the yardstick."""
        self._child = GatedStart(self.service)
        started = self._child.go()
        return started

    def end(self):
        """Ends what `begin` started."""
        if self._child:
            self._child.kill()

    def round(self):
        """One kill; the seconds until PONG."""
        time.sleep(max(0.0, UP - (time.monotonic() - self.up_since)))
        old = self.pid
        if self.service:
            # The cold start: the old one is gone and reaped before the clock starts.
            self.end()
            self._child = GatedStart(self.service)
            time.sleep(0.05)
            began = self._child.go()
        else:
            began = time.perf_counter()
            os.kill(old, signal.SIGKILL)
        moment, self.pid = wait_answer(self.port, self.login, old, self.log)
        self.up_since = time.monotonic()
        self.times.append(moment - began)
        return moment - began


def _fill(port, login, keys):
    """The same data for all: `keys` strings of 100 bytes."""
    value = "x" * 100
    with wire.Redis(port, login) as redis:
        for first in range(0, keys, 1000):
            last = min(first + 1000, keys)
            redis.run(*(("SET", f"bench:{number:08d}", value) for number in range(first, last)))
        return redis.run(("DBSIZE",))


def conf_for(rendered, acl, port, folder, user):
    """Lucid's own rendered configuration with another port and another copy of the ACL file."""
    folder.mkdir(parents=True)
    text, ports = re.subn(r"(?m)^port \d+$", f"port {port}", rendered)
    text, acls = re.subn(r"(?m)^aclfile .*$", f'aclfile "{folder}/users.acl"', text)
    if ports != 1 or acls != 1:
        raise BenchError(
            "making equal configurations",
            "lucid's redis.conf has not exactly one line `port N` and one `aclfile PATH`",
            "adapt benches/supervisor/restart.py to what lucid renders now",
        )
    for name, content in (("redis.conf", text), ("users.acl", acl)):
        (folder / name).write_text(content, encoding="utf-8")
        os.chown(folder / name, user.uid, user.gid)
    os.chown(folder, user.uid, user.gid)
    return folder / "redis.conf"


def _copy_data(source, target, user):
    shutil.copytree(source, target)
    for base, _, names in os.walk(target):
        for path in (base, *(os.path.join(base, name) for name in names)):
            os.chown(path, user.uid, user.gid)
    # As lucid keeps it.
    target.chmod(0o750)


def run(args, folder, users):
    """All rounds; gives a dictionary of name to seconds, and facts for the table."""
    user = users["cache"]
    names = [peer.name for peer in peers.ALL]
    ports = free_ports(len(names) + 3)
    say("restart: starting lucid once, to render the configuration that all will use")
    lucid = Lucid(
        args.lucid,
        folder / "lucid",
        {"cache": args.redis},
        {"cache": ports[0], "api": ports[1]},
        tuning=False,
    )
    contestants = []
    running = []
    try:
        lucid.start()
        lucid.wait_ready()
        login = lucid.login("cache")
        keys = _fill(ports[0], login, args.keys)
        rendered = (lucid.conf_dir("cache") / "redis.conf").read_text(encoding="utf-8")
        acl = (lucid.conf_dir("cache") / "users.acl").read_text(encoding="utf-8")
        lucid.stop()
        data = lucid.data_dir("cache")
        size = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
        say(f"restart: {keys} keys, {size / 1e6:.1f} MB on disk, the same for all")

        def service(name, port):
            base = folder / name
            _copy_data(data, base / "data", user)
            conf = conf_for(rendered, acl, port, base / "conf", user)
            argv = (str(args.redis), str(conf))
            output = peers.output(base / "redis.out", user)
            return peers.Service("cache", argv, base / "data", output, user)

        cold = service("alone", ports[2])
        contestants.append(Contestant(COLD, ports[2], login, cold.output, cold))
        contestants.append(Contestant("lucid", ports[0], login, lucid.log))
        for kind, port in zip(peers.ALL, ports[3:], strict=True):
            peer = kind(folder / f"peer-{kind.name}", [service(kind.name, port)])
            running.append(peer)
            contestants.append(Contestant(kind.name, port, login, peer.services[0].output))
        contestants[0].begin()
        lucid.start()
        for peer in running:
            peer.start()
        for contestant in contestants:
            contestant.wait_up()
            say(f"restart: {contestant.name} is up")
        lucid.wait_ready()
        _rounds(args.rounds, contestants)
    finally:
        contestants[0].end() if contestants else None
        lucid.stop()
        for peer in running:
            peer.stop()
    return {
        "times": {contestant.name: contestant.times for contestant in contestants},
        "keys": keys,
        "bytes": size,
        "told": {peer.name: peer.told for peer in running},
    }


def _rounds(rounds, contestants):
    # Small waits of changing length, so that no kill keeps step with a supervisor's polling.
    dice = random.Random(9)
    for number in range(rounds):
        shown = []
        for contestant in contestants:
            time.sleep(dice.uniform(0, 0.25))
            seconds = contestant.round()
            shown.append(f"{contestant.name.split(',')[0]} {seconds * 1e3:.1f}")
        say(f"restart: round {number + 1} of {rounds}, ms: " + ", ".join(shown))
    for contestant in contestants:
        if len(contestant.times) != rounds or statistics.median(contestant.times) <= 0:
            raise BenchError("counting the rounds", contestant.name, "report this as a fault")
