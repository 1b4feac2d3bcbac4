"""The tables, and whether each target is met."""

import datetime
import statistics
import subprocess

import figures
import peers
from restart import COLD
from shared import machine, put_between

BEGIN = "<!-- bench supervisor: begin -->"
END = "<!-- bench supervisor: end -->"

RESTART_FACTOR = 1.2
PSS_LIMIT_MIB = 12
CPU_LIMIT_PERCENT = 0.3
START_FACTOR = 1.15
#: A difference counts as a tie only when it is both unproven and small.
TIE_SHARE = 0.05

HEADER = """# Performance

Measured figures, each with its target. Every table between two markers is written by the command
that it names, from one run; nothing in it is typed by hand.

## Supervisor
"""


def ms(seconds):
    """Milliseconds for a table."""
    return f"{seconds * 1e3:.1f}"


def _first_line(command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return (result.stdout or result.stderr).strip().splitlines()[0]


class Verdicts:
    """Targets and what became of them."""

    def __init__(self):
        self.rows = []
        self.missed = False

    def add(self, what, figure, target, word):
        """One row; `word` is pass, tie or miss."""
        self.rows.append((what, figure, target, word))
        self.missed = self.missed or word == "miss"

    def limit(self, what, value, limit, unit, digits):
        """A figure that must not be above `limit`."""
        word = "pass" if value <= limit else "miss"
        self.add(what, f"{value:.{digits}f}{unit}", f"≤ {limit}{unit}", word)


def _table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows] + [""]


def _against(mine, other):
    """Median of `mine` against `other`: lower, higher or a tie, and the interval of the difference."""
    difference = statistics.median(mine) - statistics.median(other)
    low, high = figures.interval([a - b for a, b in zip(mine, other, strict=True)])
    unproven = low <= 0 <= high
    small = abs(difference) <= TIE_SHARE * statistics.median(other)
    if unproven and small:
        return "tie", low, high
    return ("faster" if difference < 0 else "slower"), low, high


def _restart(data, verdicts):
    times = data["times"]
    lucid, cold = times["lucid"], times[COLD]
    others = {name: values for name, values in times.items() if name not in ("lucid", COLD)}
    best = min(others, key=lambda name: statistics.median(others[name]))
    rows = []
    for name, values in sorted(times.items(), key=lambda item: statistics.median(item[1])):
        word, low, high = ("", 0, 0) if name == "lucid" else _against(lucid, values)
        against = f"{word} ({ms(low)} to {ms(high)})" if word else ""
        shown = [ms(statistics.median(values)), ms(figures.percentile(values, 0.9))]
        shown += [ms(min(values)), ms(max(values))]
        told = data["told"].get(name, "as shipped" if name == "lucid" else "no supervisor")
        rows.append((name, *shown, against, told))
    median = statistics.median(lucid)
    word = "pass"
    if median > statistics.median(others[best]):
        word = "tie" if _against(lucid, others[best])[0] == "tie" else "miss"
    verdicts.add(
        "kill -9 of redis to PONG, median",
        f"{ms(median)} ms",
        f"≤ the best of the others ({best}, {ms(statistics.median(others[best]))} ms)",
        word,
    )
    ratio = median / statistics.median(cold)
    verdicts.limit("the same against redis's own cold start", ratio, RESTART_FACTOR, " ×", 3)
    head = ["supervisor", "median", "p90", "min", "max", "lucid against it", "told to restart by"]
    return [
        "### kill -9 of redis until PING answers again (ms)",
        "",
        f"{len(lucid)} rounds, the supervisors in turn within each round, all of them up all the "
        "time, each with a redis of its own that has been up for more than 3 s when it is killed. "
        f"Equal for all: program, user, the configuration that lucid renders (but for the port), "
        f"and the data ({data['keys']} keys, {data['bytes'] / 1e6:.1f} MB of append-only file and "
        "snapshot). The clock starts at the kill and stops at the PONG on a new authenticated "
        "connection; tries are 0.2 ms apart. The cold start runs from exec to PONG with the old "
        "redis already gone. \"Lucid against it\" compares the medians; in brackets the 95 % "
        "bootstrap interval of the median of the paired differences. A tie is a difference whose "
        f"interval holds 0 and that is at most {TIE_SHARE:.0%}.",
        "",
        "The others' figures are theirs by design, not by configuration: s6 waits one second after "
        "every death, supervisord and Horust act in steps of their main loop, monit looks once a "
        "second.",
        "",
        *_table(head, rows),
    ]


def _start(data, verdicts):
    rows = []
    for key, what in (("start", "start to ready"), ("first", "first start to ready")):
        times, slower = data[key], data["slower"][key]
        ratios = [a / b for a, b in zip(times["lucid"], times[slower], strict=True)]
        cells = [ms(statistics.median(times[name])) for name in ("lucid", "document", "cache")]
        spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
        rows.append((what, *cells, f"{statistics.median(ratios):.3f}", spread))
        verdicts.limit(
            f"{what} against the slower engine ({slower})",
            statistics.median(ratios),
            START_FACTOR,
            " ×",
            3,
        )
    head = ["", "lucid, both", "document alone", "cache alone", "median of the ratios", "ratios"]
    return [
        "### Start to `ready` (ms, medians)",
        "",
        f"{len(data['start']['lucid'])} pairs each, in turn. Lucid's figure runs from the spawn of "
        "`lucid supervise` to the first status, read over its unix socket, with both datastores "
        "`ready`. Beside it each engine alone, on the same data directory, with the arguments, "
        "user and port that lucid gives it, from exec to a real operation: an acknowledged "
        "insert after a SCRAM-SHA-256 login, a PONG after AUTH. On a first start the data and the "
        "accounts do not exist, and both sides make the same two accounts. Lucid tunes the kernel "
        "within its figure.",
        "",
        *_table(head, rows),
    ]


def _rest(data, verdicts, window):
    lucid = data["rest"]
    mib = lucid["pss_kib"] / 1024
    verdicts.limit("memory of the supervisor (PSS)", mib, PSS_LIMIT_MIB, " MiB", 2)
    cpu = lucid["cpu_percent"]
    verdicts.limit("processor time of the supervisor", cpu, CPU_LIMIT_PERCENT, " % of one core", 3)
    rows = []
    for name, found in [("lucid", lucid), *data["peers"].items()]:
        probes = "reads both stores every second" if name == "lucid" else "none"
        switches = f"{found['switches']:.1f}"
        size, share = f"{found['pss_kib'] / 1024:.2f}", f"{found['cpu_percent']:.3f}"
        rows.append((name, size, share, switches, found["processes"], probes))
    head = ["supervisor", "PSS, MiB", "% of one core", "wake-ups/s", "processes", "probes"]
    states = ", ".join(f"{name} {state}" for name, state in lucid["states"].items())
    return [
        "### At rest with two datastores",
        "",
        f"Watched for {window} s after 20 s of settling; lucid as shipped, with its kernel tuning "
        f"({states}; {lucid['threads']} threads). PSS is the largest of the samples, over all "
        "processes of the supervisor without the engines; processor time is the kernel's own "
        "count in nanoseconds, helpers included; wake-ups are voluntary context switches. The "
        "others run the same two engines and only wait for them (monit also looks at their pid "
        "files every second), so their rows are for orientation.",
        "",
        *_table(head, rows),
    ]


def _versions(args):
    rows = [("lucid", _first_line([str(args.lucid), "--version"]).removeprefix("lucid "))]
    rows.append(("redis", _first_line([str(args.redis), "--version"]).split("v=")[1].split()[0]))
    if args.secantus:
        words = _first_line([str(args.secantus), "--version"]).split()
        rows.append((words[0], " ".join(words[1:])))
    rows += [(peer.name, peer.version()) for peer in peers.ALL]
    return ", ".join(f"{name} {version}" for name, version in rows)


def render(args, found, folder, load):
    """The whole section as text, and whether a target was missed."""
    verdicts = Verdicts()
    tables = []
    if "restart" in found:
        tables += _restart(found["restart"], verdicts)
    if "both" in found and "rest" in found["both"]:
        tables += _rest(found["both"], verdicts, args.window)
    if "both" in found and "start" in found["both"]:
        tables += _start(found["both"], verdicts)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    lines = [
        f"Written by `{args.shown_command}` on {today}.",
        "",
        f"- machine: {machine(folder)}; load average {load:.2f} before the run",
        f"- versions: {_versions(args)}",
        "",
        *_table(["figure", "measured", "target", "verdict"], verdicts.rows),
        *tables,
    ]
    return "\n".join(lines).rstrip() + "\n", verdicts.missed


def write(path, text):
    """Puts the section between its markers; makes file and markers when they are missing."""
    put_between(path, BEGIN, END, text, HEADER)
