"""tests/image/run: what the image promises, seen in an emulated board: first and second start, limits,
watchdog, what is written, who may log in, and every fault that a card or a disk can have."""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import traceback

PROJECT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "image"))

import backups  # noqa: E402
import panel  # noqa: E402
import pools  # noqa: E402
from machine import Board, BoardError, copy_image, firmware, imager_files, key_pair, put  # noqa: E402

START = 420
DATA_OFFSET = 1670 << 20
STATE_OFFSET = 1541 << 20


def expect(holds, what):
    if not holds:
        raise BoardError(f"does not hold: {what}")


class Bench:
    """One image, a work directory, and boards made from it."""

    def __init__(self, image, work):
        self.image, self.work = image, work
        self.key, self.public = key_pair(work)

    def card(self, name, size=8 << 30, user=True):
        card = copy_image(self.image, self.work / f"{name}.img", size)
        if user:
            put(card, "user-data", imager_files(self.public))
            # A full hour may come at any time, and a backup with it.
            put(card, "lucid.toml", "[backup]\nenabled = false\n")
        return card

    def board(self, card, **options):
        return Board(card, self.work / "board", key=self.key, **options).start()

    def disk(self, name, size=4 << 30):
        """An empty disk, and the arguments that attach it at the start under its own serial number."""
        path = self.work / f"{name}.img"
        with open(path, "wb") as file:
            file.truncate(size)
        # A node of its own, which stays when the device is unplugged.
        node = f"driver=raw,node-name={name},file.driver=file,file.filename={path}"
        return path, ["-blockdev", node, "-device", f"virtio-blk-pci,drive={name},serial={name},bus=slot1,id={name}-device"]


def up(board, state="ready"):
    board.wait_console("lucid: " + state.upper(), START)
    board.wait_ssh(START)
    return board.wait_state(state, START)


def reason(status, name):
    return next(d["reason"] or "" for d in status["datastores"] if d["name"] == name)


def units(board):
    failed = board.run("systemctl --failed --no-legend --plain")
    expect(not failed.strip(), f"no unit failed: {failed}")


def starts(bench):
    """The first start grows the data partition and makes keys and credentials; the second one finds
    everything as it was and is faster."""
    card = bench.card("starts")
    board = bench.board(card)
    try:
        status = up(board)
        first = board.wait_console("lucid: READY", 1)
        expect(not status["alerts"], f"no alert is open: {status['alerts']}")
        units(board)
        names = [datastore["name"] for datastore in status["datastores"]]
        expect(names == ["document", "cache", "search"], f"three datastores are ready: {names}")
        sizes = board.run("lsblk -brno NAME,SIZE /dev/vda").split()
        expect(int(sizes[sizes.index("vda6") + 1]) > 6 << 30, f"the data partition reaches the end of the card: {sizes}")
        free = int(board.run("df -B1 --output=size /data | tail -1"))
        expect(free > 6 << 30, f"the data pool fills its partition: {free}")
        expect(board.run("hostname").strip() == "lucid-test", "the host name is Imager's")
        expect(board.run("readlink /etc/localtime").strip().endswith("Europe/Berlin"), "the time zone is Imager's")
        identity = board.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; lucid credentials show document; lucid credentials show cache; lucid credentials show search; cat /var/lib/lucid/pool.json")

        promises(board, status)
        board.power_off()

        board = bench.board(card)
        status = up(board)
        second = board.wait_console("lucid: READY", 1)
        units(board)
        again = board.run("cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub; lucid credentials show document; lucid credentials show cache; lucid credentials show search; cat /var/lib/lucid/pool.json")
        expect(identity == again, f"the second start changed nothing: {identity} {again}")
        expect("disabled" in board.run("cloud-init status || true"), "cloud-init is left out of the second start")
        expect(second < first, f"the second start is faster: {second:.0f} s after {first:.0f} s")
        boots = board.run("journalctl --list-boots --no-pager | wc -l")
        expect(int(boots) >= 2, f"the journal of the first start is kept: {boots}")
        print(f"  ready {first:.0f} s after power on at the first start, {second:.0f} s at the second")
        watchdog(board)
    finally:
        board.cut()


def promises(board, status):
    """What holds on every running board. All of it is looked at before a failure is told."""
    broken = []

    def held(holds, what):
        if not holds:
            broken.append(what)

    # The root is read-only, and nobody can write to it.
    held("ro," in board.run("findmnt -no OPTIONS /") or "ro" == board.run("findmnt -no OPTIONS /").strip(), "the root is mounted read-only")
    held("Read-only" in board.run("touch /usr/x 2>&1 || true"), "nothing can be written to the root")
    held(board.run("findmnt -no FSTYPE /").strip() == "squashfs", "the root is a squashfs")
    # Limits in force, as the kernel says.
    for datastore in status["datastores"]:
        limit = board.run(f"cat /sys/fs/cgroup/system.slice/lucid.service/engine-{datastore['name']}/memory.max").strip()
        planned = datastore["memory_max_bytes"]
        held(0 <= planned - int(limit) < 65536, f"memory.max of {datastore['name']} is {limit}, planned {planned}")
        proc = board.run(f"cat /proc/{datastore['pid']}/cgroup /proc/{datastore['pid']}/status")
        held(f"engine-{datastore['name']}" in proc, f"{datastore['name']} runs in its own cgroup")
        held("NoNewPrivs:\t1" in proc, f"{datastore['name']} cannot gain privileges")
        owner = board.run(f"stat -c %U /proc/{datastore['pid']}").strip()
        held(owner == f"lucid-{datastore['name']}", f"{datastore['name']} runs as {owner}")
    # Nothing but ssh and name services listens on the network.
    listening = board.run("ss -Hltn")
    for line in listening.splitlines():
        address = line.split()[3]
        held(address.startswith(("127.", "[::1]")) or address.endswith(":22"), f"{address} listens on the network")
    # Nobody has a password; nobody logs in with one.
    shadow = board.run("cat /etc/shadow")
    for line in shadow.splitlines():
        held(line.split(":")[1] in ("*", "!", "!*", "!!"), f"no password is set: {line}")
    settings = board.run("sshd -T")
    for setting in ("passwordauthentication no", "permitrootlogin no", "kbdinteractiveauthentication no"):
        held(setting in settings, f"sshd has {setting}")
    # The watchdog counts, and the supervisor holds it.
    held(int(board.run("cat /sys/class/watchdog/watchdog0/timeout")) <= 15, "the watchdog counts at most 15 s")
    held(board.run("cat /sys/class/watchdog/watchdog0/state").strip() == "active", "the watchdog is on")
    supervisor = board.run("systemctl show -P MainPID lucid").strip()
    held("/dev/watchdog0" in board.run(f"ls -l /proc/{supervisor}/fd"), "the supervisor feeds the watchdog")
    # Swap in RAM, the journal on the pool, the sandbox.
    held("zram" in board.run("cat /proc/swaps"), "zram is the swap")
    held("/data" in board.run("findmnt -no SOURCE,TARGET /data") and "btrfs" in board.run("findmnt -no FSTYPE /var/log/journal"), "the journal lies on the pool")
    held(board.run("ls /var/log/journal/*/system.journal"), "the journal is persistent")
    exposure = board.run("systemd-analyze security lucid.service --no-pager | tail -n 1")
    value = float(re.search(r"([0-9]+\.[0-9]+)", exposure).group(1))
    held(value <= 4.0, f"systemd-analyze security says {exposure.strip()}")
    held("inactive" in board.run("systemctl is-active systemd-time-wait-sync systemd-networkd-wait-online || true"), "nothing waits for time or network")
    memory = board.run("free -m | sed -n 2p").split()
    packages = board.run("dpkg-query -W | wc -l").strip()
    print(f"  RAM in use at ready: {memory[2]} of {memory[1]} MiB; {packages} packages; lucid.service {value}")
    expect(not broken, "; ".join(broken))


def watchdog(board):
    """A supervisor that hangs, and that systemd does not replace, resets the board."""
    board.run("systemctl service-watchdogs no; kill -STOP $(systemctl show -P MainPID lucid)")
    began = time.monotonic()
    while board.text().count("Running /scripts/init-bottom") < 2:
        expect(time.monotonic() - began < 90, "the watchdog resets a board whose supervisor hangs")
        time.sleep(0.5)
    print(f"  the watchdog reset the board {time.monotonic() - began:.0f} s after the supervisor hung")


def idle(bench, minutes):
    """In steady state nothing is written to the firmware partition and the root."""
    board = bench.board(bench.card("idle"))
    try:
        up(board)
        # What a start leaves behind settles first.
        time.sleep(90)
        before = sectors(board)
        time.sleep(minutes * 60)
        after = sectors(board)
    finally:
        board.cut()
    written = {name: after[name] - before[name] for name in after}
    print(f"  sectors written in {minutes} min idle: firmware {written['vda1']}, root {written['vda2']}, {written['vda3']}, "
          f"state {written['vda5']}, data {written['vda6']}")
    expect(written["vda1"] == written["vda2"] == written["vda3"] == 0, f"nothing is written to firmware and root: {written}")
    expect(written["vda5"] <= 64, f"the state partition is left alone: {written}")


def sectors(board):
    lines = board.run("cat /proc/diskstats").splitlines()
    return {line.split()[2]: int(line.split()[9]) for line in lines if re.match(r"vda\d", line.split()[2])}


def data_disk(bench):
    """A disk that is named takes the data at the first start; when it goes away the engines stop with
    the reason and nothing lands on the card; with it the appliance comes back whole."""
    card = bench.card("named")
    put(card, "lucid.toml", '[data]\r\ndisk = "virtio-ssd"\r\n')
    path, attach = bench.disk("ssd")
    board = bench.board(card, extra=attach)
    try:
        up(board)
        expect(board.run("findmnt -no SOURCE /data").strip() == "/dev/vdb", "the data lies on the disk that is named")
        expect(int(board.run("lsblk -bdrno SIZE /dev/vda6")) == 16 << 20, "the data partition of the card is left alone")
        board.run("redis-cli -u \"$(lucid credentials show cache)\" --no-auth-warning set kept yes; sleep 3")
        card_before = sectors(board)
        board.qmp("device_del", id="ssd-device")
        status = None
        began = time.monotonic()
        while not (status and status["state"] == "failed" and all(d["state"] == "blocked" for d in status["datastores"])):
            expect(time.monotonic() - began < 180, f"a lost data disk stops the engines: {json.dumps(status)}")
            time.sleep(2)
            status = board.status()
        for name in ("document", "cache", "search"):
            expect("data disk" in reason(status, name) and "is gone" in reason(status, name), f"{name} tells why: {reason(status, name)}")
        expect(any(alert["id"] == "data-pool" for alert in status["alerts"]), "an alert tells of the data disk")
        board.wait_console(r"lucid: data: the data disk /dev/vdb is gone", 900)
        expect("is gone" in board.run("journalctl -b -u lucid --no-pager -n 200"), "the journal goes on, in RAM")
        card_after = sectors(board)
        expect(all(card_after[p] == card_before[p] for p in ("vda1", "vda2", "vda3", "vda6")), "nothing was written to the card instead")
        expect(status["panel"]["pattern"] == "failed", f"the panel shows it: {status['panel']['pattern']}")
        # Plugged in again, at another place, it goes back into service by itself.
        board.qmp("device_add", driver="virtio-blk-pci", drive="ssd", serial="ssd", bus="slot2", id="ssd-again")
        board.wait_state("ready", 240)
        kept = board.run("redis-cli -u \"$(lucid credentials show cache)\" --no-auth-warning get kept").strip()
        expect(kept == "yes", f"the data is there again without a restart: {kept}")
        expect("btrfs" in board.run("findmnt -no FSTYPE /var/log/journal"), "the journal is on the disk again")
    finally:
        board.cut()
    # Without the disk: no silent start on the card.
    board = bench.board(card)
    try:
        status = up(board, "failed")
        expect("virtio-ssd is not attached" in reason(status, "cache"), f"the missing disk is named: {reason(status, 'cache')}")
    finally:
        board.cut()
    # With it again, and with a new card: everything is there, passwords included.
    for again in (card, None):
        if again is None:
            again = bench.card("anew")
            put(again, "lucid.toml", '[data]\ndisk = "virtio-ssd"\n')
        board = bench.board(again, extra=attach)
        try:
            up(board)
            kept = board.run("redis-cli -u \"$(lucid credentials show cache)\" --no-auth-warning get kept").strip()
            expect(kept == "yes", f"the data is there again: {kept}")
        finally:
            board.cut()


def foreign_disk(bench):
    """A disk that holds something is neither taken nor changed."""
    card = bench.card("foreign")
    put(card, "lucid.toml", '[data]\ndisk = "virtio-photos"\n')
    path, attach = bench.disk("photos")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-L", "holiday", str(path)], check=True)
    before = path.read_bytes()[: 1 << 20]
    board = bench.board(card, extra=attach)
    try:
        status = up(board, "failed")
        expect("holiday" in reason(status, "document") and "data.erase" in reason(status, "document"), f"what it holds is named: {reason(status, 'document')}")
    finally:
        board.cut()
    expect(path.read_bytes()[: 1 << 20] == before, "the disk is left as it was")


def small_card(bench):
    """A card without room for data is told, with the arithmetic."""
    board = bench.board(bench.card("small", size=1700 << 20))
    try:
        status = up(board, "failed")
        expect("512.0 MiB" in reason(status, "document"), f"the size is told: {reason(status, 'document')}")
    finally:
        board.cut()


def damaged(bench):
    """A data partition that is damaged is told and left as it is; the state partition's damage too."""
    card = bench.card("damaged")
    board = bench.board(card)
    try:
        up(board)
        board.power_off()
        # All three superblocks of btrfs that fit, as a dying card would.
        with open(card, "r+b") as file:
            for offset in (64 << 10, 64 << 20):
                file.seek(DATA_OFFSET + offset)
                file.write(b"\xff" * 4096)
        board = bench.board(card)
        status = up(board, "failed")
        expect("damaged" in reason(status, "document"), f"the damage is told: {reason(status, 'document')}")
        board.cut()
        with open(card, "rb") as file:
            file.seek(DATA_OFFSET + (64 << 10))
            expect(file.read(16) == b"\xff" * 16, "the data partition is left as it was")
        with open(card, "r+b") as file:
            file.seek(STATE_OFFSET)
            file.write(b"\xff" * (4 << 20))
        board = bench.board(card)
        board.wait_console("lucid: state: the state partition", START)
        board.wait_console("lucid: FAILED", START)
    finally:
        board.cut()


def configuration(bench):
    """No cloud-init files, and a wrong lucid.toml on the firmware partition: the appliance runs with
    what it had and says what is wrong; a correct file is taken."""
    card = bench.card("plain", user=False)
    put(card, "lucid.toml", "[datastore.cache]\nprot = 6380\n")
    board = bench.board(card)
    try:
        board.wait_console("lucid: configuration: .*lucid.toml:2.*prot", START)
        board.wait_console("lucid: DEGRADED", START)
        board.cut()
        put(card, "lucid.toml", "[datastore.cache]\nport = 6380\n")
        put(card, "user-data", imager_files(bench.public))
        board = bench.board(card)
        status = up(board)
        expect(any(d["endpoint"].endswith(":6380") for d in status["datastores"]), "the corrected file is in force")
        expect(board.run("hostname").strip() == "lucid-test", "files that came later are read")
        # A full data partition: told, served as far as possible, and over when there is room.
        board.run("fallocate -l $(($(df -B1 --output=avail /data | tail -1) - 4194304)) /data/filler 2>/dev/null || dd if=/dev/zero of=/data/filler bs=1M 2>/dev/null || true", limit=600)
        began = time.monotonic()
        status = None
        while not (status and any(alert["id"].startswith(("space:", "pool:")) and alert["severity"] == "critical" for alert in status["alerts"])):
            expect(time.monotonic() - began < 120, f"a full data partition is told: {json.dumps(status)}")
            time.sleep(2)
            status = board.status()
        board.run("rm /data/filler; sync")
        board.wait_state("ready", 240)
        units(board)
    finally:
        board.cut()


def named(prefix, test):
    """A test of another file under a name of its own."""
    def run(bench):
        test(bench, up)
    run.__name__, run.__doc__ = f"{prefix}{test.__name__}", test.__doc__
    return run


TESTS = [starts, configuration, data_disk, foreign_disk, small_card, damaged]
TESTS += [named("panel_", test) for test in (panel.lamps, panel.removal, panel.lines, panel.registers, panel.pi3)]
TESTS += [named("", pools.migration), named("", backups.backup)]


def main():
    parser = argparse.ArgumentParser(prog="tests/image/run")
    parser.add_argument("--image", required=True, type=pathlib.Path)
    parser.add_argument("--only", choices=[test.__name__ for test in TESTS], action="append")
    parser.add_argument("--idle", type=int, metavar="MINUTES", help="measure what is written in this time, and nothing else")
    arguments = parser.parse_args()
    chosen = [test for test in TESTS if not arguments.only or test.__name__ in arguments.only]
    jobs = [(test.__name__, test, ()) for test in chosen]
    if arguments.idle:
        jobs = [("idle", idle, (arguments.idle,))]
    failed = 0
    for name, test, rest in jobs:
        began = time.monotonic()
        print(f"{name}: {' '.join((test.__doc__ or '').split())}", flush=True)
        with tempfile.TemporaryDirectory(prefix="lucid-image.") as work:
            try:
                test(Bench(arguments.image, pathlib.Path(work)), *rest)
                print(f"  passed in {time.monotonic() - began:.0f} s", flush=True)
            except (BoardError, OSError, subprocess.SubprocessError, StopIteration) as error:
                failed += 1
                traceback.print_exc(limit=-1)
                print(f"  FAILED in {time.monotonic() - began:.0f} s: {error}", flush=True)
    print(f"{len(jobs) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
