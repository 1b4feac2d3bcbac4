"""Start to `ready`, beside the engines' own starts, and what the supervisors cost at rest."""

import os
import shutil
import signal
import statistics
import time
from pathlib import Path

import figures
import peers
import restart
import wire
from appliance import Lucid, command_line
from common import GatedStart, tail
from shared import BenchError, free_ports, say

SETTLE = 20
WINDOW = 60


def document_ready(port, accounts, first, limit, log):
    """Until a document store acknowledges an authenticated insert; the moment of that.

    On a first start the accounts are made before, as lucid makes them: the supervisor's by the
    localhost exception, the client's by the supervisor.
    """
    deadline = time.monotonic() + limit
    error = None
    missing = list(accounts) if first else []
    while time.monotonic() < deadline:
        try:
            if len(missing) == len(accounts):
                with wire.Mongo(port) as unknown:
                    _make(unknown, missing[0], "root")
                del missing[0]
            with wire.Mongo(port) as mongo:
                mongo.login(*accounts[0])
                if missing:
                    _make(mongo, missing[0], "readWriteAnyDatabase")
                    del missing[0]
                insert = {"insert": "start", "documents": [{"at": str(time.time())}]}
                mongo.run("lucid_bench", {**insert, "writeConcern": {"w": 1, "j": True}})
                return time.perf_counter()
        except (OSError, wire.NotYet) as caught:
            error = caught
            time.sleep(0.001)
    raise BenchError(
        "starting the document engine by itself",
        f"no acknowledged insert within {limit} s: {error}\n{tail(log)}",
        "read the lines above",
    )


def _make(mongo, account, role):
    mongo.run(
        "admin",
        {
            "createUser": account[0],
            "pwd": account[1],
            "roles": [{"role": role, "db": "admin"}],
            "mechanisms": ["SCRAM-SHA-256"],
        },
    )


class Alone:
    """The engines of a stopped appliance, started on its data by the harness instead."""

    def __init__(self, lucid, users, commands, folder):
        self.lucid = lucid
        self.users = users
        self.commands = commands
        self.folder = folder

    def service(self, role):
        """The engine just as lucid starts it."""
        output = self.folder / f"{role}.alone.out"
        argv, cwd = self.commands[role], self.lucid.data_dir(role)
        return peers.Service(role, tuple(argv), cwd, output, self.users[role])

    def seconds(self, role, first=False):
        """From exec to the first real operation."""
        service = self.service(role)
        if first:
            shutil.rmtree(service.cwd)
            service.cwd.mkdir(mode=0o750)
            os.chown(service.cwd, service.user.uid, service.user.gid)
        accounts, port = self.lucid.accounts(role), self.lucid.ports[role]
        child = GatedStart(service)
        try:
            time.sleep(0.05)
            began = child.go()
            if role == "document":
                ready = document_ready(port, accounts, first, 120, service.output)
            else:
                ready, _ = restart.wait_answer(port, accounts[1], log=service.output)
            return ready - began
        finally:
            child.kill(signal.SIGTERM)


def _pairs(rounds, lucid, alone, first):
    what = "first start" if first else "start"
    times = {"lucid": [], "document": [], "cache": []}
    for number in range(rounds):
        if first:
            lucid.wipe()
        began = lucid.start()
        times["lucid"].append(lucid.wait_ready() - began)
        lucid.stop()
        for role in ("document", "cache"):
            times[role].append(alone.seconds(role, first))
        shown = ", ".join(f"{name} {values[-1] * 1e3:.0f}" for name, values in times.items())
        say(f"{what}: round {number + 1} of {rounds}, ms: {shown}")
    return times


def run(args, folder, users):
    """Everything that needs both datastores."""
    ports = free_ports(3)
    engines = {"document": args.secantus, "cache": args.redis}
    lucid = Lucid(
        args.lucid,
        folder / "lucid",
        engines,
        {"document": ports[0], "cache": ports[1], "api": ports[2]},
        tuning=True,
    )
    result = {}
    try:
        say("both datastores: the very first start")
        lucid.start()
        lucid.wait_ready()
        pids = lucid.engine_pids()
        commands = {
            "document": command_line(pids["document"]),
            # Redis writes its title over its arguments; the one there is is its configuration.
            "cache": [str(args.redis), str(lucid.conf_dir("cache") / "redis.conf")],
        }
        if "resources" in args.parts:
            result["rest"] = _rest(lucid, pids, args)
        lucid.stop()
        if "start" in args.parts:
            alone = Alone(lucid, users, commands, folder)
            result["start"] = _pairs(args.start_rounds, lucid, alone, first=False)
            result["first"] = _pairs(args.start_rounds, lucid, alone, first=True)
            slower = {
                key: max(("document", "cache"), key=lambda role: statistics.median(times[role]))
                for key, times in result.items()
                if key in ("start", "first")
            }
            result["slower"] = slower
        if "resources" in args.parts:
            result["peers"] = _peers_at_rest(lucid, commands, folder, users, args)
    finally:
        lucid.stop()
    return result


def _rest(lucid, pids, args):
    say(f"at rest: lucid settles for {SETTLE} s, then is watched for {args.window} s")
    time.sleep(SETTLE)
    before = lucid.status()
    tree = [pid for pid in figures.descendants(lucid.process.pid) if pid not in pids.values()]
    probes = figures.watch({"lucid": tree}, args.window, lambda text: say(f"at rest: {text}"))
    after = lucid.status()
    if not after or lucid.engine_pids() != pids:
        raise BenchError(
            "watching lucid at rest",
            f"its engines changed meanwhile: {pids} became {lucid.engine_pids()}\n{tail(lucid.log)}",
            "find out why they were restarted; the figures would tell of something else",
        )
    result = probes["lucid"]
    result["threads"] = len(os.listdir(f"/proc/{lucid.process.pid}/task"))
    result["states"] = {
        store["name"]: store["state"] for store in before["datastores"] if store["name"] in pids
    }
    return result


def _peers_at_rest(lucid, commands, folder, users, args):
    """The peers with the same two engines, all at once. They probe nothing."""
    running, groups = [], {}
    engines = {user.uid for user in users.values()}
    ports = iter(free_ports(len(peers.ALL) * len(commands)))
    try:
        for kind in peers.ALL:
            services = [
                _service(lucid, folder / f"rest-{kind.name}-{role}", users[role], argv, role, next(ports))
                for role, argv in commands.items()
            ]
            peer = kind(folder / f"rest-{kind.name}", services)
            peer.start()
            running.append(peer)
        say(f"at rest: the peers settle for {SETTLE} s, then are watched for {args.window} s")
        time.sleep(SETTLE)
        for peer in running:
            # What they supervise runs as another user than they do.
            groups[peer.name] = [pid for pid in peer.processes() if _owner(pid) not in engines]
        return figures.watch(groups, args.window, lambda text: say(f"at rest: peers, {text}"))
    finally:
        for peer in running:
            peer.stop()


def _service(lucid, base, user, argv, role, port):
    base.mkdir()
    base.chmod(0o755)
    (base / "data").mkdir(mode=0o750)
    os.chown(base / "data", user.uid, user.gid)
    argv = list(argv)
    if role == "cache":
        conf = lucid.conf_dir(role)
        text = {name: (conf / name).read_text(encoding="utf-8") for name in ("redis.conf", "users.acl")}
        made = restart.conf_for(text["redis.conf"], text["users.acl"], port, base / "conf", user)
        argv = [argv[0], str(made)]
    else:
        argv[argv.index("--port") + 1] = str(port)
    return peers.Service(role, tuple(argv), base / "data", peers.output(base / "out", user), user)


def _owner(pid):
    try:
        return Path(f"/proc/{pid}").stat().st_uid
    except OSError:
        return None
