"""A disk with a volatile write cache, served to QEMU over NBD: what was written and not flushed is
lost at a power cut, except for a part of it chosen at random, in any order, down to single sectors.
That is what real cards and disks do, and what killing an emulator alone does not show.

The protocol is that of the NBD project's proto.md: fixed newstyle negotiation, simple replies.
"""

import os
import random
import socket
import struct
import threading

SECTOR = 512
MAGIC, OPTION, REPLY = 0x4E42444D41474943, 0x49484156454F5054, 0x3E889045565A9
REQUEST, SIMPLE = 0x25609513, 0x67446698
# Transmission flags: flags are valid, FLUSH, FUA, TRIM and WRITE_ZEROES are understood.
FLAGS = 1 | 1 << 2 | 1 << 3 | 1 << 5 | 1 << 6
READ, WRITE, DISCONNECT, FLUSH, TRIM, ZEROES = 0, 1, 2, 3, 4, 6
FUA = 1 << 0


class VolatileDisk:
    """Serves `path` on a socket. Counters tell what the guest did."""

    def __init__(self, path, socket_path, seed):
        self.file = os.open(path, os.O_RDWR)
        self.size = os.fstat(self.file).st_size
        self.cache = {}  # sector -> content not flushed yet
        self.lock = threading.Lock()
        self.random = random.Random(seed)
        self.writes = self.flushes = 0
        self.dead = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(socket_path))
        self.listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def cut(self):
        """The power goes: nothing is taken any more, and a random part of the cache reached the disk.
        Gives the number of sectors that were not flushed, and of those that are lost."""
        with self.lock:
            self.dead = True
            kept = [sector for sector in self.cache if self.random.random() < 0.5]
            for sector in kept:
                os.pwrite(self.file, self.cache[sector], sector * SECTOR)
            unflushed = len(self.cache)
            self.cache.clear()
            os.close(self.file)
        self.listener.close()
        return unflushed, unflushed - len(kept)

    def close(self):
        """A clean end."""
        with self.lock:
            if not self.dead:
                self._flush()
                self.dead = True
                os.close(self.file)
        self.listener.close()

    def _serve(self):
        try:
            connection, _ = self.listener.accept()
            with connection, connection.makefile("rb") as stream:
                self._negotiate(connection, stream)
                while self._request(connection, stream):
                    pass
        except (OSError, EOFError):
            pass

    def _negotiate(self, connection, stream):
        connection.sendall(struct.pack(">QQH", MAGIC, OPTION, 3))
        read(stream, 4)
        while True:
            _, option, length = struct.unpack(">QII", read(stream, 16))
            read(stream, length)
            if option == 7:  # NBD_OPT_GO
                export = struct.pack(">HQH", 0, self.size, FLAGS)
                connection.sendall(struct.pack(">QIII", REPLY, option, 3, len(export)) + export)
                connection.sendall(struct.pack(">QIII", REPLY, option, 1, 0))
                return
            if option == 2:  # NBD_OPT_ABORT
                raise EOFError
            connection.sendall(struct.pack(">QIII", REPLY, option, 1 << 31 | 1, 0))

    def _request(self, connection, stream):
        magic, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", read(stream, 28))
        if magic != REQUEST or kind == DISCONNECT:
            return False
        data = read(stream, length) if kind == WRITE else b""
        answer = b""
        with self.lock:
            if self.dead:
                return False
            if kind == READ:
                answer = self._read(offset, length)
            elif kind in (WRITE, ZEROES):
                self._write(offset, data or bytes(length))
            elif kind == FLUSH:
                self._flush()
            if flags & FUA and kind in (WRITE, ZEROES):
                self._flush(range(offset // SECTOR, (offset + length) // SECTOR))
        connection.sendall(struct.pack(">IIQ", SIMPLE, 0, handle) + answer)
        return True

    def _read(self, offset, length):
        data = bytearray(os.pread(self.file, length, offset))
        if self.cache:
            for index in range(length // SECTOR):
                cached = self.cache.get(offset // SECTOR + index)
                if cached is not None:
                    data[index * SECTOR : (index + 1) * SECTOR] = cached
        return bytes(data)

    def _write(self, offset, data):
        self.writes += 1
        for index in range(len(data) // SECTOR):
            self.cache[offset // SECTOR + index] = data[index * SECTOR : (index + 1) * SECTOR]

    def _flush(self, sectors=None):
        """Brings the cache, or these sectors of it, to the disk. The order is that of the disk."""
        self.flushes += 1
        chosen = sorted(self.cache if sectors is None else (s for s in sectors if s in self.cache))
        run, start = [], None
        for sector in chosen:
            if run and sector != start + len(run):
                os.pwrite(self.file, b"".join(run), start * SECTOR)
                run = []
            if not run:
                start = sector
            run.append(self.cache.pop(sector))
        if run:
            os.pwrite(self.file, b"".join(run), start * SECTOR)


def read(stream, length):
    data = stream.read(length)
    if len(data) != length:
        raise EOFError
    return data
