"""The least of the two wire protocols: Redis, and MongoDB with SCRAM-SHA-256."""

import base64
import hashlib
import hmac
import os
import socket
import struct


class NotYet(Exception):
    """The server does not answer as it should, yet."""


# --- Redis -----------------------------------------------------------------------------------


def _command(*parts):
    parts = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)


class Redis:
    """One connection, authenticated with the first command."""

    def __init__(self, port, login, timeout=5.0):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._auth = _command("AUTH", *login)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()
        self._socket.close()

    def _reply(self):
        line = self._file.readline()
        if not line.endswith(b"\r\n"):
            raise NotYet("connection closed")
        kind, text = line[:1], line[1:-2]
        if kind == b"-":
            raise NotYet(text.decode(errors="replace"))
        if kind == b"$":
            size = int(text)
            return None if size < 0 else self._file.read(size + 2)[:-2]
        return int(text) if kind == b":" else text

    def run(self, *commands):
        """Runs commands in one write; returns the last reply. Authenticates at first."""
        auth, self._auth = self._auth, None
        self._socket.sendall((auth or b"") + b"".join(_command(*c) for c in commands))
        if auth:
            self._reply()
        reply = None
        for _ in commands:
            reply = self._reply()
        return reply

    def info(self, section):
        """INFO as a dictionary."""
        text = self.run(("INFO", section)).decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


# --- MongoDB ---------------------------------------------------------------------------------


def _encode_value(value):
    if isinstance(value, bool):
        return 0x08, b"\1" if value else b"\0"
    if isinstance(value, int):
        small = -(2**31) <= value < 2**31
        return (0x10, struct.pack("<i", value)) if small else (0x12, struct.pack("<q", value))
    if isinstance(value, str):
        raw = value.encode() + b"\0"
        return 0x02, struct.pack("<i", len(raw)) + raw
    if isinstance(value, bytes):
        return 0x05, struct.pack("<iB", len(value), 0) + value
    if isinstance(value, dict):
        return 0x03, encode(value)
    if isinstance(value, (list, tuple)):
        return 0x04, encode({str(i): item for i, item in enumerate(value)})
    raise TypeError(type(value))


def encode(document):
    """BSON of the few types that are needed here."""
    body = b""
    for key, value in document.items():
        kind, raw = _encode_value(value)
        body += bytes([kind]) + key.encode() + b"\0" + raw
    return struct.pack("<i", len(body) + 5) + body + b"\0"


_FIXED = {0x01: "<d", 0x08: "<?", 0x09: "<q", 0x10: "<i", 0x11: "<Q", 0x12: "<q"}


def decode(raw):
    """A dictionary of what a reply holds; types that are not needed are left as bytes."""
    document, at, end = {}, 4, struct.unpack_from("<i", raw)[0] - 1
    while at < end:
        kind = raw[at]
        stop = raw.index(b"\0", at + 1)
        key, at = raw[at + 1 : stop].decode(), stop + 1
        if kind in _FIXED:
            (value,) = struct.unpack_from(_FIXED[kind], raw, at)
            at += struct.calcsize(_FIXED[kind])
        elif kind in (0x02, 0x0D, 0x0E):
            size = struct.unpack_from("<i", raw, at)[0]
            value, at = raw[at + 4 : at + 3 + size].decode(errors="replace"), at + 4 + size
        elif kind in (0x03, 0x04):
            size = struct.unpack_from("<i", raw, at)[0]
            value, at = decode(raw[at : at + size]), at + size
        elif kind == 0x05:
            size = struct.unpack_from("<i", raw, at)[0]
            value, at = raw[at + 5 : at + 5 + size], at + 5 + size
        elif kind == 0x07:
            value, at = raw[at : at + 12], at + 12
        elif kind in (0x06, 0x0A):
            value = None
        elif kind == 0x13:
            value, at = raw[at : at + 16], at + 16
        else:
            raise NotYet(f"BSON type {kind:#x} in a reply")
        document[key] = value
    return document


class Mongo:
    """One connection; commands are refused as `NotYet` with the server's words."""

    def __init__(self, port, timeout=5.0):
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._socket.close()

    def _read(self, size):
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise NotYet("connection closed")
            data += part
        return data

    def run(self, database, command):
        """One command by OP_MSG."""
        self._id += 1
        body = struct.pack("<IB", 0, 0) + encode({**command, "$db": database})
        self._socket.sendall(struct.pack("<iiii", 16 + len(body), self._id, 0, 2013) + body)
        size = struct.unpack("<i", self._read(4))[0]
        reply = decode(self._read(size - 4)[12 + 5 :])
        errors = reply.get("writeErrors")
        if reply.get("ok") != 1 or errors:
            raise NotYet(str(reply.get("errmsg") or errors or reply))
        return reply

    def login(self, user, password):
        """SCRAM-SHA-256, checking the server's signature too."""
        nonce = base64.b64encode(os.urandom(18)).decode()
        first = f"n={user},r={nonce}"
        start = {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": f"n,,{first}".encode()}
        reply = self.run("admin", {**start, "options": {"skipEmptyExchange": True}})
        challenge = reply["payload"].decode()
        fields = dict(part.split("=", 1) for part in challenge.split(","))
        final = f"c=biws,r={fields['r']}"
        message = f"{first},{challenge},{final}".encode()
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)

        def sign(key, text):
            return hmac.digest(key, text, "sha256")

        key = sign(salted, b"Client Key")
        signature = sign(hashlib.sha256(key).digest(), message)
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        answer = {"saslContinue": 1, "conversationId": reply["conversationId"]}
        reply = self.run("admin", {**answer, "payload": f"{final},p={proof}".encode()})
        told = base64.b64decode(reply["payload"].decode().removeprefix("v="))
        if told != sign(sign(salted, b"Server Key"), message):
            raise NotYet("the server's signature is wrong")
        if not reply.get("done"):
            self.run("admin", {**answer, "payload": b""})


# --- HTTP over a unix socket -----------------------------------------------------------------


def http_get(path, target, timeout=5.0):
    """GET over a unix socket; the body of a 200."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(timeout)
        sock.connect(str(path))
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        sock.sendall(request.encode())
        data = b""
        while part := sock.recv(65536):
            data += part
    head, _, body = data.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ")
    if len(status) < 2 or status[1] != b"200":
        raise NotYet(head.split(b"\r\n", 1)[0].decode(errors="replace") or "no answer")
    if b"transfer-encoding: chunked" in head.lower():
        chunks, body = body, b""
        while chunks:
            size, _, chunks = chunks.partition(b"\r\n")
            length = int(size, 16)
            if not length:
                break
            body, chunks = body + chunks[:length], chunks[length + 2 :]
    return body
