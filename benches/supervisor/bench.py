"""Measures lucid's supervisor beside runit, s6, supervisord, monit and Horust.

Called by scripts/bench, which installs and builds what this needs.
"""

import argparse
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

import peers
import report
import restart
import start
import wire
from common import end_all_under
from shared import BenchError, positive, say

PARTS = ("restart", "resources", "start")


def arguments():
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench supervisor", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=20, help="kills of each redis [20]")
    parser.add_argument(
        "--start-rounds", type=positive, default=10, help="starts, and again first starts [10]"
    )
    parser.add_argument("--window", type=positive, default=60, help="seconds watched at rest [60]")
    parser.add_argument("--keys", type=int, default=20000, help="keys of 100 bytes in redis [20000]")
    parser.add_argument("--out", type=Path, help="write the section into this markdown file")
    parser.add_argument(
        "--only", choices=PARTS, action="append", dest="parts", help="one part; may be repeated"
    )
    parser.add_argument(
        "--no-gate", action="store_true", help="end with 0 even when a target is missed"
    )
    parser.add_argument("--keep", action="store_true", help="keep the work folder")
    parser.add_argument("--lucid", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--redis", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--secantus", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.parts = args.parts or list(PARTS)
    if args.out and set(args.parts) != set(PARTS):
        parser.error("--out needs all parts: a file with a part of the figures would mislead")
    if not args.secantus and set(args.parts) != {"restart"}:
        parser.error("the parts resources and start need secantusd-rs")
    shown = ["scripts/bench supervisor"]
    for name in ("rounds", "start_rounds", "window", "keys"):
        if getattr(args, name) != parser.get_default(name):
            shown.append(f"--{name.replace('_', '-')} {getattr(args, name)}")
    shown += [f"--only {part}" for part in args.parts if len(args.parts) < len(PARTS)]
    if args.out:
        shown.append(f"--out {args.out.name if args.out.is_absolute() else args.out}")
    args.shown_command = " ".join(shown)
    return args


def users():
    """The users that lucid runs its engines as."""
    found = {}
    for role in ("document", "cache"):
        name = f"lucid-{role}"
        try:
            entry = pwd.getpwnam(name)
        except KeyError as error:
            todo = "start this by scripts/bench, which makes it"
            raise BenchError("finding the users", f"there is no user {name}", todo) from error
        found[role] = peers.User(name, entry.pw_uid, entry.pw_gid)
    return found


def measure(args, folder):
    """All parts that were asked for."""
    for peer in peers.ALL:
        say(f"peer: {peer.name} {peer.version()} at {peer.find()}")
    found = {}
    accounts = users()
    if "restart" in args.parts:
        found["restart"] = restart.run(args, _sub(folder, "restart"), accounts)
        end_all_under(folder)
    if {"resources", "start"} & set(args.parts):
        found["both"] = start.run(args, _sub(folder, "both"), accounts)
    return found


def _sub(folder, name):
    made = folder / name
    made.mkdir()
    made.chmod(0o755)
    return made


def main():
    """Returns 0, 1 when a step failed, 3 when a target was missed."""
    args = arguments()
    # A kill of this program ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    load = os.getloadavg()[0]
    if load > 0.3 * os.cpu_count():
        say(f"warning: load average {load:.2f}; other work disturbs the figures")
    folder = Path(tempfile.mkdtemp(prefix="lucid-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    folder.chmod(0o755)
    try:
        found = measure(args, folder)
        text, missed = report.render(args, found, folder, load)
    except BenchError as error:
        print(f"bench: failed: {error.step}", file=sys.stderr)
        print(f"  why:  {error.why}\n  do:   {error.todo}", file=sys.stderr)
        return 1
    except (OSError, wire.NotYet, subprocess.SubprocessError) as error:
        traceback.print_exc()
        print(f"bench: failed: measuring\n  why:  {error}", file=sys.stderr)
        print("  do:   see the step above; --keep leaves the work folder to look at", file=sys.stderr)
        return 1
    finally:
        end_all_under(folder)
        if args.keep:
            say(f"the work folder is {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(text)
    if args.out:
        report.write(args.out, text)
        say(f"written to {args.out}")
    if missed:
        say("a target was missed; see the verdicts above")
        return 0 if args.no_gate else 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
