"""What every part of this benchmark needs: waiting, and processes."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path


def tail(path, lines=8):
    """The last lines of a file, for a failure message."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return "(no output)"
    return "\n".join("    " + line for line in text.splitlines()[-lines:]) or "(no output)"


def clean_env():
    """The environment of every supervisor and of every engine started here."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "HOME": "/"}


def start_daemon(argv, cwd, log):
    """Starts a supervisor in a session of its own, its output in `log`."""
    with open(log, "ab") as output:
        return subprocess.Popen(
            [str(arg) for arg in argv],
            cwd=cwd,
            env=clean_env(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def stop_daemon(process, sig=signal.SIGTERM, limit=45):
    """Asks a process to end and waits; kills it when it does not. True when it ended by itself."""
    if process.poll() is not None:
        return True
    process.send_signal(sig)
    try:
        process.wait(limit)
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
        return False


class GatedStart:
    """A process that is forked, and has dropped to its user, before its start is asked for.

    `go()` writes one byte and notes the time; the child then execs. So the time of a start by the
    harness holds exec and what the program does, and not the harness's own fork: the strictest
    yardstick that can be had from here.
    """

    def __init__(self, service):
        read, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._child(service, read, write)
        os.close(read)
        self._write = write
        self.started = None

    @staticmethod
    def _child(service, read, write):
        try:
            os.close(write)
            os.setsid()
            output = os.open(service.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            null = os.open(os.devnull, os.O_RDONLY)
            for source, target in ((null, 0), (output, 1), (output, 2)):
                os.dup2(source, target)
            os.chdir(service.cwd)
            os.setgroups([service.user.gid])
            os.setgid(service.user.gid)
            os.setuid(service.user.uid)
            if os.read(read, 1) == b"g":
                os.execve(service.argv[0], [str(arg) for arg in service.argv], clean_env())
        finally:
            os._exit(127)

    def go(self):
        """Lets it start; returns the moment."""
        self.started = time.perf_counter()
        os.write(self._write, b"g")
        os.close(self._write)
        self._write = None
        return self.started

    def kill(self, sig=signal.SIGKILL, limit=45):
        """Ends it and waits until it is gone."""
        if self._write is not None:
            os.close(self._write)
            self._write = None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                    time.sleep(0.01)
                    continue
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


def processes_under(folder):
    """Processes whose working directory lies under `folder`: those that this benchmark made."""
    folder = os.path.realpath(folder)
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            cwd = os.readlink(f"/proc/{entry}/cwd").removesuffix(" (deleted)")
            if cwd == folder or cwd.startswith(folder + "/"):
                found.append(int(entry))
    return found


def end_all_under(folder):
    """Ends what is left in `folder`, politely first."""
    for sig, limit in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        deadline = time.monotonic() + limit
        for pid in processes_under(folder):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, sig)
        while time.monotonic() < deadline:
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if not processes_under(folder):
                return
            time.sleep(0.1)
