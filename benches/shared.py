"""What every benchmark needs: failing clearly, progress, the machine, and its place in a document."""

import argparse
import contextlib
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path


class BenchError(Exception):
    """A step that failed: which, why, and what to do."""

    def __init__(self, step, why, todo):
        super().__init__(f"{step}: {why}")
        self.step = step
        self.why = why
        self.todo = todo


def say(text):
    """One line of progress."""
    print(f"bench: {text}", file=sys.stderr, flush=True)


def free_ports(count):
    """Ports that nobody listens on now. All are held until the last is found."""
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            sock.bind(("127.0.0.1", 0))
            ports.append(sock.getsockname()[1])
    return ports


def positive(text):
    """A whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def machine(folder):
    """What is measured on: processor, memory, kernel, and the file system of `folder`."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("model name", "Model")):
            model = line.split(":", 1)[1].strip()
    kib = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1])
    found = subprocess.run(
        ["df", "--output=fstype", str(folder)], capture_output=True, text=True, check=True
    )
    kind = found.stdout.split()[-1]
    return (
        f"{os.cpu_count()} cores {platform.machine()} ({model}), {kib / 2**20:.1f} GiB RAM, "
        f"Linux {platform.release()}, data on {kind}"
    )


def put_between(path, begin, end, text, header):
    """Puts `text` between two markers of a document; makes document and markers when they are missing."""
    old = path.read_text(encoding="utf-8") if path.exists() else header
    if begin in old and end in old:
        head, rest = old.split(begin, 1)
        foot = rest.split(end, 1)[1]
    else:
        head, foot = old.rstrip("\n") + "\n\n", "\n"
    path.write_text(f"{head}{begin}\n\n{text}\n{end}{foot}", encoding="utf-8")
