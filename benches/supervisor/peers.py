"""The other supervisors: each told to do the same, restart at once and always, in its own words."""

import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import figures
from common import start_daemon, stop_daemon
from shared import BenchError


@dataclass(frozen=True)
class User:
    """Who an engine runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Service:
    """One engine, as every supervisor is told to run it."""

    name: str
    argv: tuple
    cwd: Path
    output: Path
    user: User


def output(path, user):
    """A file for what an engine writes; some open it as root and some as the engine's user."""
    path.touch()
    os.chown(path, user.uid, user.gid)
    return path


def _script(path, text):
    path.write_text(text, encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _package(name):
    """Version of an installed Debian package."""
    query = ["dpkg-query", "-W", "-f=${Version}", name]
    result = subprocess.run(query, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "version unknown"


class Peer:
    """A supervisor that runs in the foreground from files in one folder."""

    name = ""
    #: One line for the table: how it was told to restart.
    told = ""
    program = ""
    stop_signal = signal.SIGTERM

    def __init__(self, folder, services):
        self.folder = folder
        self.services = services
        self.log = folder / "log"
        self.process = None
        folder.mkdir(parents=True)
        folder.chmod(0o755)

    @classmethod
    def find(cls):
        """Path of its program."""
        found = shutil.which(cls.program)
        if not found:
            todo = f"run scripts/bench without --no-install, or install the package of {cls.name}"
            raise BenchError("finding the peers", f"{cls.program} is not installed", todo)
        return found

    @classmethod
    def version(cls):
        """Its version, as the table shows it."""
        raise NotImplementedError

    def write(self):
        """Writes its configuration; returns its command line."""
        raise NotImplementedError

    def start(self):
        """Starts it."""
        argv = self.write()
        self.process = start_daemon(argv, self.folder, self.log)

    def processes(self):
        """Its own processes and the engines."""
        return figures.descendants(self.process.pid)

    def stop(self):
        """Stops it; what it leaves behind, the caller ends."""
        if self.process:
            stop_daemon(self.process, self.stop_signal, 20)


class Runit(Peer):
    """runsvdir, one runsv for each service, chpst for the user."""

    name = "runit"
    told = "run script, `exec chpst -u`"
    program = "runsvdir"
    # TERM would leave the services running.
    stop_signal = signal.SIGHUP

    @classmethod
    def version(cls):
        return _package("runit")

    def write(self):
        for service in self.services:
            folder = self.folder / "sv" / service.name
            folder.mkdir(parents=True)
            user, argv = service.user.name, " ".join(map(str, service.argv))
            _script(
                folder / "run",
                f"#!/bin/sh\nexec >>{service.output} 2>&1\ncd {service.cwd} || exit 1\n"
                f"exec chpst -u {user} {argv}\n",
            )
        return [self.find(), "-P", self.folder / "sv"]


class S6(Peer):
    """s6-svscan, one s6-supervise for each service, s6-setuidgid for the user."""

    name = "s6"
    told = "run script, `exec s6-setuidgid`"
    program = "s6-svscan"

    @classmethod
    def version(cls):
        return _package("s6")

    def write(self):
        for service in self.services:
            folder = self.folder / "scan" / service.name
            folder.mkdir(parents=True)
            user, argv = service.user.name, " ".join(map(str, service.argv))
            _script(
                folder / "run",
                f"#!/bin/sh\nexec >>{service.output} 2>&1\ncd {service.cwd} || exit 1\n"
                f"exec s6-setuidgid {user} {argv}\n",
            )
        return [self.find(), self.folder / "scan"]


class Supervisord(Peer):
    """supervisord in the foreground."""

    name = "supervisord"
    told = "`autorestart=true`, `startsecs=0`, `user=`"
    program = "supervisord"

    @classmethod
    def version(cls):
        return _package("supervisor")

    def write(self):
        lines = [
            "[supervisord]",
            "nodaemon=true",
            "user=root",
            f"logfile={self.folder}/supervisord.log",
            f"pidfile={self.folder}/supervisord.pid",
            f"childlogdir={self.folder}",
        ]
        for service in self.services:
            lines += [
                f"[program:{service.name}]",
                "command=" + " ".join(map(str, service.argv)),
                f"directory={service.cwd}",
                f"user={service.user.name}",
                "autostart=true",
                "autorestart=true",
                "startsecs=0",
                "redirect_stderr=true",
                f"stdout_logfile={service.output}",
            ]
        conf = self.folder / "supervisord.conf"
        conf.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return [self.find(), "-n", "-c", conf]


class Monit(Peer):
    """monit in the foreground with its shortest cycle. It polls pid files."""

    name = "monit"
    told = "`set daemon 1` (its shortest cycle), `as uid`"
    program = "monit"

    @classmethod
    def version(cls):
        return _package("monit")

    def write(self):
        lines = [
            "set daemon 1",
            f"set log {self.folder}/monit.log",
            f"set pidfile {self.folder}/monit.pid",
            f"set idfile {self.folder}/monit.id",
            f"set statefile {self.folder}/monit.state",
        ]
        for service in self.services:
            pids = self.folder / f"{service.name}.d"
            pids.mkdir()
            os.chown(pids, service.user.uid, service.user.gid)
            pid, script = pids / "pid", self.folder / f"{service.name}.start"
            _script(
                script,
                f"#!/bin/sh\ncd {service.cwd} || exit 1\n"
                f"{' '.join(map(str, service.argv))} </dev/null >>{service.output} 2>&1 &\n"
                f"echo $! >{pid}\n",
            )
            owner = f"as uid {service.user.name} and gid {service.user.name}"
            lines += [
                f"check process {service.name} with pidfile {pid}",
                f'  start program = "{script}" {owner}',
                f'  stop program = "/bin/sh -c \'kill $(cat {pid})\'" {owner}',
            ]
        conf = self.folder / "monitrc"
        conf.write_text("\n".join(lines) + "\n", encoding="utf-8")
        conf.chmod(0o600)
        reaper = Path(__file__).with_name("reaper.py")
        return [sys.executable, reaper, self.find(), "-I", "-c", conf]

    def processes(self):
        """Without the reaper, which stands for init."""
        return super().processes()[1:]


class Horust(Peer):
    """Horust in the foreground."""

    name = "Horust"
    told = '`strategy = "always"`, `backoff = "0s"`, `user =`'
    program = "horust"

    @classmethod
    def version(cls):
        # It has no option that tells it; cargo's record beside the program does.
        record = Path(cls.find()).parent.parent / ".crates.toml"
        found = re.search(r'"horust (\S+) ', record.read_text(encoding="utf-8"))
        return found[1] if found else "version unknown"

    def write(self):
        services = self.folder / "services"
        sockets = self.folder / "sockets"
        services.mkdir()
        sockets.mkdir()
        for service in self.services:
            (services / f"{service.name}.toml").write_text(
                f'command = "{" ".join(map(str, service.argv))}"\n'
                f'user = "{service.user.name}"\n'
                f'working-directory = "{service.cwd}"\n'
                f'stdout = "{service.output}"\n'
                f'stderr = "{service.output}"\n'
                '[restart]\nstrategy = "always"\nbackoff = "0s"\nattempts = 1000000\n'
                '[failure]\nstrategy = "ignore"\n',
                encoding="utf-8",
            )
        return [self.find(), "--services-path", services, "--uds-folder-path", sockets]


ALL = (Runit, S6, Supervisord, Monit, Horust)
