"""scripts/boot: starts the image on an emulated board, for a person or as a check."""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from machine import Board, BoardError, copy_image, imager_files, key_pair, put

UNITS = {"M": 1 << 20, "G": 1 << 30}
# Emulation is slow, and a busy machine slower; a real board needs a tenth of this.
LIMIT = {"virt": 420, "raspi3b": 900, "raspi4b": 1500}


def size(text):
    try:
        return int(text[:-1]) * UNITS[text[-1:]]
    except (ValueError, KeyError):
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write it like 8G or 512M") from None


def check(board):
    """Ready by its own word: over ssh, or on the console of a board that has no network here."""
    limit = LIMIT[board.board]
    ready = board.wait_console(r"lucid: READY", limit)
    print(f"ready on the console {ready:.0f} s after power on", file=sys.stderr)
    board.wait_ssh(limit)
    status = board.wait_state("ready", limit)
    json.dump(status, sys.stdout, indent=1)
    print()
    board.power_off()


def show(board):
    print(f"log in with: {' '.join(board.ssh_command())}", file=sys.stderr)
    print("reach the engines by adding: -L 27017:127.0.0.1:27017 -L 6379:127.0.0.1:6379", file=sys.stderr)
    print("Ctrl-C takes the power away", file=sys.stderr)
    shown = 0
    while board.process.poll() is None:
        text = board.text()
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        time.sleep(0.2)


def main():
    parser = argparse.ArgumentParser(prog="scripts/boot")
    parser.add_argument("--image", required=True, type=pathlib.Path)
    parser.add_argument("--board", choices=LIMIT, default="virt")
    parser.add_argument("--card", type=pathlib.Path)
    parser.add_argument("--size", type=size, default=size("8G"))
    parser.add_argument("--memory", type=int, default=1024)
    parser.add_argument("--append", default="")
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.board != "virt" and arguments.size & (arguments.size - 1):
        parser.error("the card of a raspi board must have a power of two as its size, such as 8G")
    with tempfile.TemporaryDirectory(prefix="lucid-boot.") as work:
        work = pathlib.Path(work)
        card = arguments.card or work / "card.img"
        key, public = key_pair(arguments.card.resolve().parent if arguments.card else work)
        if not card.exists():
            copy_image(arguments.image, card, arguments.size)
            put(card, "user-data", imager_files(public))
        board = Board(card, work, arguments.board, arguments.memory, arguments.append, key=key)
        board.start()
        try:
            (check if arguments.check else show)(board)
        finally:
            board.cut()


try:
    main()
except KeyboardInterrupt:
    sys.exit(130)
except (BoardError, OSError, subprocess.SubprocessError) as error:
    sys.exit(f"boot: {error}")
