"""scripts/bench boot: how long the image takes from power on to ready, beside the same image with plain
systemd units for the same engines, and what it weighs."""

import argparse
import datetime
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "image"))

from machine import Board, BoardError, copy_image, imager_files, key_pair, put  # noqa: E402

LIMIT = 420
TARGET = 1.05
BEGIN, END = "<!-- bench boot: begin -->\n", "<!-- bench boot: end -->\n"

# The engines as lucid starts them, without lucid. Ready means less than with lucid: both programs
# say that they listen; nothing is written or read.
PLAIN = """
mkdir -p /etc/plain/cache /etc/plain/document
cp -a /run/lucid/conf/cache/. /etc/plain/cache/
cp -a /run/lucid/conf/document/. /etc/plain/document/
chown -R lucid-cache /etc/plain/cache; chown -R lucid-document /etc/plain/document
document=$(tr '\\0' ' ' </proc/$DOCUMENT/cmdline | sed 's|/run/lucid/conf|/etc/plain|g')
cache=$(find /etc/plain/cache -name '*.conf' | head -n 1)
sed -i 's|/run/lucid/conf|/etc/plain|g' "$cache"
cat >/etc/systemd/system/plain-document.service <<UNIT
[Unit]
After=lucid-data.service
Wants=lucid-data.service
[Service]
User=lucid-document
WorkingDirectory=/data/mongodb
LimitNOFILE=64000
ExecStart=/bin/sh -c 'exec $document'
StandardOutput=file:/run/plain-document.out
UNIT
cat >/etc/systemd/system/plain-cache.service <<UNIT
[Unit]
After=lucid-data.service
Wants=lucid-data.service
[Service]
User=lucid-cache
WorkingDirectory=/data/redis
LimitNOFILE=65535
ExecStart=/usr/bin/redis-server $cache
StandardOutput=file:/run/plain-cache.out
UNIT
cat >/etc/systemd/system/plain-ready.service <<UNIT
[Unit]
Wants=plain-document.service plain-cache.service
After=lucid-data.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'until ss -Hltn sport = :27017 | grep -q . && ss -Hltn sport = :6379 | grep -q .; do sleep 0.1; done; echo "plain: READY" >/dev/console'
UNIT
systemctl daemon-reload
sync
"""


def measure(card, work, key, append, line):
    board = Board(card, work, append=append, key=key).start()
    try:
        return board.wait_console(line, LIMIT)
    finally:
        board.cut()


def figures(image, work, rounds):
    key, public = key_pair(work)
    card = copy_image(image, work / "card.img", 8 << 30)
    put(card, "user-data", imager_files(public))
    board = Board(card, work, key=key).start()
    try:
        first = board.wait_console("lucid: READY", LIMIT)
        board.wait_ssh(LIMIT)
        status = board.wait_state("ready", LIMIT)
        memory = board.run("free -m | sed -n 2p").split()
        packages = int(board.run("dpkg-query -W | wc -l"))
        supervisor = board.run("systemctl show -P MainPID lucid").strip()
        pss = int(board.run(f"awk '/^Pss:/ {{ sum += $2 }} END {{ print sum }}' /proc/{supervisor}/smaps"))
        pids = {datastore["name"].upper(): datastore["pid"] for datastore in status["datastores"]}
        board.run("".join(f"{name}={pid}\n" for name, pid in pids.items()) + PLAIN)
        board.power_off()
    finally:
        board.cut()
    times = {"lucid": [], "plain": []}
    for number in range(rounds):
        # In turn, so that a busy moment of this machine meets both.
        for name in ("lucid", "plain") if number % 2 == 0 else ("plain", "lucid"):
            append = "" if name == "lucid" else "systemd.mask=lucid.service systemd.wants=plain-ready.service"
            times[name].append(measure(card, work, key, append, f"{name}: READY"))
            print(f"round {number + 1}: {name} {times[name][-1]:.1f} s", file=sys.stderr, flush=True)
    return first, times, memory, packages, pss


def report(image, rounds, first, times, memory, packages, pss):
    lucid, plain = (statistics.median(times[name]) for name in ("lucid", "plain"))
    ratio = lucid / plain
    packed = pathlib.Path(f"{image}.xz")
    size = f"{packed.stat().st_size / 1e6:.0f} MB" if packed.exists() else "not packed in this run"
    day = datetime.datetime.now(datetime.UTC).date()
    rows = [
        ("power on to ready, later starts, median", f"{lucid:.1f} s", ""),
        ("the same with plain units, median", f"{plain:.1f} s", ""),
        ("lucid against plain units", f"{ratio:.3f} ×", f"≤ {TARGET} ×: {'pass' if ratio <= TARGET else 'miss'}"),
        ("power on to ready, first start", f"{first:.1f} s", ""),
        ("compressed image", size, f"≤ 350 MB{': pass' if packed.exists() and packed.stat().st_size <= 350e6 else ''}"),
        ("image unpacked", f"{image.stat().st_size / (1 << 20):.0f} MiB", ""),
        ("Debian packages", str(packages), ""),
        ("RAM in use at ready, of the guest's", f"{memory[2]} of {memory[1]} MiB", ""),
        ("of it the supervisor (PSS)", f"{pss / 1024:.1f} MiB", ""),
    ]
    text = f"\nWritten by `scripts/bench boot --rounds {rounds} --out docs/image.md` on {day}; QEMU `-M virt`, two emulated Cortex-A72, 1 GB, on two shared cores.\n\n"
    text += "| figure | measured | target |\n|---|---|---|\n"
    text += "".join(f"| {name} | {value} | {target} |\n" for name, value, target in rows)
    all_times = {name: ", ".join(f"{value:.1f}" for value in values) for name, values in times.items()}
    text += f"\nSingle starts, in turn: lucid {all_times['lucid']} s; plain units {all_times['plain']} s.\n\n"
    return text, ratio <= TARGET


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench boot")
    parser.add_argument("--image", required=True, type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, help="a document with the markers of this table")
    parser.add_argument("--json", action="store_true", help="print the single times")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lucid-bench.") as work:
        found = figures(arguments.image, pathlib.Path(work), arguments.rounds)
    text, passed = report(arguments.image, arguments.rounds, *found)
    if arguments.json:
        print(json.dumps(found[1]))
    else:
        print(text)
    if arguments.out:
        document = arguments.out.read_text(encoding="utf-8")
        head, rest = document.split(BEGIN)
        arguments.out.write_text(head + BEGIN + text + END + rest.split(END)[1], encoding="utf-8")
    sys.exit(0 if passed else 3)


try:
    main()
except (BoardError, OSError, subprocess.SubprocessError, ValueError) as error:
    sys.exit(f"bench: {error}")
