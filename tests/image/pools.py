"""Pools beside the data pool, on an emulated board: a running appliance moves from its card to another
disk, and what happens when that goes away."""

import time

from machine import BoardError

# Writes keys one by one and notes those that were acknowledged, until told to end.
WRITER = """
uri=$(lucid credentials show cache)
n=0
while [ ! -e /run/writer-end ]; do
    n=$((n + 1))
    [ "$(redis-cli -u "$uri" --no-auth-warning set moving:$n yes 2>/dev/null)" = OK ] && echo moving:$n >>/run/acknowledged
done
"""


def expect(holds, what):
    if not holds:
        raise BoardError(f"does not hold: {what}")


def found(board):
    """How many of the acknowledged keys are there."""
    answers = board.run("uri=$(lucid credentials show cache); xargs -n 200 redis-cli -u \"$uri\" --no-auth-warning exists < /data/acknowledged")
    return sum(int(line) for line in answers.split())


def migration(bench, up):
    """From the card to a disk while clients write, with nothing lost; over a restart; the disk goes
    away and comes back; a start without it."""
    card = bench.card("migration")
    _, attach = bench.disk("ssd", size=16 << 30)
    board = bench.board(card, extra=attach)
    try:
        up(board)
        refused = board.run("lucid volume pool create x --on /dev/vda6 2>&1 || true")
        expect("in use" in refused, f"the card is not taken: {refused}")
        board.run("lucid volume pool create ssd --on /dev/disk/by-id/virtio-ssd")
        board.run("cat > /run/writer", stdin=WRITER)
        board.run("systemd-run --unit writer sh /run/writer; sleep 3")
        for volume in ("mongodb", "redis", "elasticsearch"):
            told = board.run(f"lucid volume migrate {volume} --to ssd", limit=600).strip().splitlines()[-1]
            print(f"  {board.seconds():.0f} s: {told}", flush=True)
        board.wait_state("ready", 180)
        board.run("sleep 2; touch /run/writer-end; sleep 1; cp /run/acknowledged /data/acknowledged")
        count = int(board.run("wc -l < /data/acknowledged"))
        expect(count > 20, f"keys were written: {count}")
        expect(found(board) == count, f"every one of {count} acknowledged keys is there")
        print(f"  {count} keys acknowledged meanwhile, all there", flush=True)
        where = board.run("readlink /data/mongodb /data/redis /data/elasticsearch").split()
        expect(where == [f"/run/lucid-pools/ssd/{name}" for name in ("mongodb", "redis", "elasticsearch")], f"all lie on the disk: {where}")
        seen = board.run("lucid volume performance redis --for 1s")
        expect("by cgroup" in seen, f"its performance is told by its cgroup: {seen}")
        board.run("lucid volume pool trim")
        board.power_off()
    finally:
        board.cut()

    board = bench.board(card, extra=attach)
    try:
        up(board)
        expect(found(board) == count, "every key is there after a restart")
        # The disk goes: its datastores stop with the reason, the appliance's own pool stays.
        board.qmp("device_del", id="ssd-device")
        status, began = None, time.monotonic()
        while not (status and all(d["state"] == "blocked" for d in status["datastores"])):
            expect(time.monotonic() - began < 180, f"a lost disk stops its engines: {status}")
            time.sleep(2)
            status = board.status()
        told = status["datastores"][0]["reason"] or ""
        expect("pool ssd" in told and "is gone" in told, f"the reason is told: {told}")
        expect(any(alert["id"] == "pool-missing:ssd" for alert in status["alerts"]), "an alert tells of the pool")
        expect(status["panel"]["pattern"] == "failed", "the panel shows it")
        expect("btrfs" in board.run("findmnt -no FSTYPE /var/log/journal"), "the journal stays where it is")
        board.qmp("device_add", driver="virtio-blk-pci", drive="ssd", serial="ssd", bus="slot2", id="ssd-again")
        board.wait_state("ready", 240)
        expect(found(board) == count, "every key is there when the disk is back")
        board.power_off()
    finally:
        board.cut()

    board = bench.board(card)
    try:
        status = up(board, "failed")
        told = status["datastores"][0]["reason"] or ""
        expect("pool ssd is missing" in told, f"a start without the disk says so: {told}")
    finally:
        board.cut()
