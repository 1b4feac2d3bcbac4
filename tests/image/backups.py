"""Backups on an emulated board, under the service's bounds: made to another disk, and restored with one
command onto a card that knows nothing but the words."""

import json
import subprocess
import time

import pymongo

from machine import BoardError, free_port, put

CONFIG = """
backup.schedule = ""
backup.verify = ""
backup.drill = ""
[[backup.repositories]]
name = "away"
path = "/run/lucid-pools/away/repository"
"""
DOCUMENTS = 500


def expect(holds, what):
    if not holds:
        raise BoardError(f"does not hold: {what}")


def last(text):
    return text.strip().splitlines()[-1]


class Documents:
    """A client of the document store, through ssh."""

    def __init__(self, board):
        port = free_port()
        uri = board.run("lucid credentials show document").strip()
        command = board.ssh_command()
        self.tunnel = subprocess.Popen([*command[:-1], "-N", "-L", f"{port}:127.0.0.1:27017", command[-1]],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.client = pymongo.MongoClient(uri.replace(":27017", f":{port}"), serverSelectionTimeoutMS=90000, directConnection=True)

    def __enter__(self):
        return self.client

    def __exit__(self, *_):
        self.client.close()
        self.tunnel.kill()
        self.tunnel.wait()


def card_of(bench, name):
    card = bench.card(name)
    put(card, "lucid.toml", CONFIG)
    return card


def state(board):
    """What clients see."""
    with Documents(board) as client:
        documents = sorted((one["_id"], one["text"]) for one in client.shop.orders.find())
    cache = board.run("uri=$(lucid credentials show cache); redis-cli -u \"$uri\" --no-auth-warning get kept")
    search = board.run("uri=$(lucid credentials show search); curl -s \"$uri/notes/_doc/1\"")
    files = board.run("sha256sum /data/chunks-a/file | cut -d' ' -f1")
    return documents, cache, json.loads(search).get("_source"), files


def backup(bench, up):
    """To another disk, in the bounds of the service; checked and rehearsed there; then a new card gets
    everything back with the words and one command, passwords included."""
    _, attach = bench.disk("ssd", size=8 << 30)
    board = bench.board(card_of(bench, "old"), extra=attach)
    try:
        up(board)
        board.run("lucid volume pool create away --on /dev/disk/by-id/virtio-ssd")
        board.run("lucid volume create chunks-a --type chunks --size 100M; head -c 20000000 /dev/urandom > /data/chunks-a/file")
        with Documents(board) as client:
            client.shop.orders.insert_many([{"_id": n, "text": f"order {n}" * 20} for n in range(DOCUMENTS)])
            client.shop.orders.create_index("text")
        board.run("uri=$(lucid credentials show cache); redis-cli -u \"$uri\" --no-auth-warning set kept yes")
        board.run("uri=$(lucid credentials show search); curl -sf -X PUT -H 'Content-Type: application/json' \"$uri/notes/_doc/1?refresh=true\" -d '{\"text\": \"kept\"}'")
        before = state(board)
        expect(len(before[0]) == DOCUMENTS and before[2], f"everything is there: {before[1:]}")
        began = time.monotonic()
        print(f"  {last(board.run('lucid backup create', limit=900))}", flush=True)
        print(f"  {last(board.run('lucid backup drill', limit=900))}", flush=True)
        print(f"  both within {time.monotonic() - began:.0f} s of emulation", flush=True)
        limits = board.run("cat /sys/fs/cgroup/system.slice/lucid.service/backup/memory.max /sys/fs/cgroup/system.slice/lucid.service/backup/cpu.weight").split()
        expect(int(limits[0]) < 2 << 30 and limits[1] == "10", f"its process has bounds: {limits}")
        words = json.loads(board.run("lucid --json backup key show"))["words"]
        uri = board.run("lucid credentials show cache")
        board.power_off()
    finally:
        board.cut()

    board = bench.board(card_of(bench, "new"), extra=attach)
    try:
        up(board)
        told = board.run("lucid backup restore everything --confirm everything 2>&1 || true")
        expect("lucid backup key import" in told, f"without the words it says what it needs: {told}")
        board.run("lucid volume pool adopt away --on /dev/disk/by-id/virtio-ssd")
        board.run("lucid backup key import -", stdin=words)
        print(f"  {last(board.run('lucid backup restore everything --confirm everything', limit=1200))}", flush=True)
        board.wait_state("ready", 240)
        expect(board.run("lucid credentials show cache") == uri, "clients log in as they did")
        after = state(board)
        expect(after == before, f"everything is as it was: {after[1:]} {before[1:]}")
        board.power_off()
    finally:
        board.cut()
