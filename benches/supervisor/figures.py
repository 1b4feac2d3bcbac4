"""Numbers: medians and their uncertainty, memory and processor time of processes."""

import contextlib
import math
import os
import random
import statistics
import time
from pathlib import Path


def percentile(values, share):
    """Nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def interval(differences, samples=4000):
    """95 % bootstrap interval of the median of paired differences; the same at every call."""
    dice = random.Random(20)
    medians = sorted(
        statistics.median(dice.choices(differences, k=len(differences))) for _ in range(samples)
    )
    return medians[int(samples * 0.025)], medians[int(samples * 0.975)]


def descendants(pid):
    """A process and all below it."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                stat = Path(f"/proc/{entry}/stat").read_text(encoding="utf-8")
                parent = int(stat.rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry))
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        todo += children.get(found[-1], [])
    return found


def pss(pids):
    """Proportional set size of the processes together, in KiB."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total


def helpers_seconds(pid):
    """Processor time of children that a process has waited for, to the clock tick."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class Threads:
    """Processor time and context switches of processes, thread by thread, in nanoseconds.

    Looked at every second, so that a thread that ends is lost with less than its last second.
    """

    def __init__(self, pids):
        self._pids = pids
        self._first, self._last = {}, {}
        self._look(self._first)
        self._last.update(self._first)

    def _look(self, into):
        for pid in self._pids:
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{pid}/task"):
                    with contextlib.suppress(OSError):
                        into[pid, task] = self._one(Path(f"/proc/{pid}/task/{task}"))

    @staticmethod
    def _one(task):
        busy = int((task / "schedstat").read_text(encoding="utf-8").split()[0])
        switches = sum(
            int(line.split()[1])
            for line in (task / "status").read_text(encoding="utf-8").splitlines()
            if line.startswith("voluntary_ctxt_switches")
        )
        return busy, switches

    def look(self):
        """Takes a sample."""
        self._look(self._last)

    def used(self):
        """Seconds of processor time and voluntary switches since the beginning."""
        busy = switches = 0
        for key, (ns, count) in self._last.items():
            before = self._first.get(key, (0, 0))
            busy += ns - before[0]
            switches += count - before[1]
        return busy / 1e9, switches


def watch(groups, seconds, progress):
    """Watches groups of processes (`name` to pids) for a time.

    Gives for each the largest PSS seen in KiB, the share of one core in per cent, and voluntary
    context switches a second.
    """
    threads = {name: Threads(pids) for name, pids in groups.items()}
    helpers = {name: sum(map(helpers_seconds, pids)) for name, pids in groups.items()}
    largest = dict.fromkeys(groups, 0)
    began = time.monotonic()
    count = 0
    while time.monotonic() - began < seconds:
        time.sleep(min(1.0, max(0.0, began + seconds - time.monotonic())))
        count += 1
        for sampler in threads.values():
            sampler.look()
        if count % 5 == 0:
            for name, pids in groups.items():
                largest[name] = max(largest[name], pss(pids))
        if count % 20 == 0:
            progress(f"{count} of {seconds} s")
    elapsed = time.monotonic() - began
    result = {}
    for name, pids in groups.items():
        busy, switches = threads[name].used()
        busy += sum(map(helpers_seconds, pids)) - helpers[name]
        result[name] = {
            "pss_kib": max(largest[name], pss(pids)),
            "cpu_percent": 100 * busy / elapsed,
            "switches": switches / elapsed,
            "processes": len(pids),
        }
    return result
