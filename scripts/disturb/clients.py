"""The clients that disturb: raw sockets that send too much, read too little, or never finish.

    clients.py KIND PORT ROOM UNTIL        UNTIL: seconds since 1970

Prints one JSON object with what was done. Bounded in time by UNTIL, in count by the constants here.
"""

import collections
import json
import os
import resource
import select
import socket
import struct
import sys
import time

CONNECT_S = 5
SMALL_BUFFER_BYTES = 4096
# What is sent in one call: a long call would keep the core from whoever else is on it.
WRITE_BYTES = 32 * 1024
READ_BYTES = 64 * 1024
# Reset rather than waited for, so that ports are free again.
RESET = struct.pack("ii", 1, 0)

FLOOD_SUBSCRIBERS = 200
FLOOD_MESSAGE_BYTES = 4096
# Each subscriber of the flooded room reads so much, so often: 160 KiB a second.
FLOOD_READ_BYTES = 16 * 1024
FLOOD_READ_S = 0.1
STALLED = 20
MESSAGE_BYTES = 64
STORM_PER_S = 5000
STORM_OPEN_MAX = 1000
STORM_WAITING = 64
HALF_OPEN = 5000
HALF_OPEN_PER_S = 1000
HALF_OPEN_BYTE_S = 1.0


def request(port: int, room: str) -> bytes:
    return (
        f"GET /?room={room} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def connect(port: int, buffer_bytes: int | None = None) -> socket.socket:
    client = socket.socket()
    if buffer_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.settimeout(CONNECT_S)
    client.connect(("127.0.0.1", port))
    return client


def upgraded(client: socket.socket) -> socket.socket:
    """Reads the answer to the opening handshake; what follows it may be read with it."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = client.recv(4096)
        if not part:
            raise ConnectionError(f"no answer but {answer!r}")
        answer += part
    if not answer.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(f"refused: {answer[:80]!r}")
    client.setblocking(False)
    return client


def subscriber(port: int, room: str, buffer_bytes: int | None = None) -> socket.socket:
    client = connect(port, buffer_bytes)
    client.sendall(request(port, room))
    return upgraded(client)


def masked(payload_bytes: int) -> bytes:
    """One text frame."""
    key = bytes([0x37, 0xFA, 0x21, 0x3D])
    length = bytes([0x80 | payload_bytes]) if payload_bytes < 126 else b"\xfe" + struct.pack(">H", payload_bytes)
    payload = bytes(ord("a") ^ key[place % 4] for place in range(payload_bytes))
    return b"\x81" + length + key + payload


class Writer:
    """Sends the same frame again and again, as fast as the socket takes it."""

    def __init__(self, client: socket.socket, payload_bytes: int):
        frame = masked(payload_bytes)
        self.client = client
        self.frame_bytes = len(frame)
        self.frames = memoryview(frame * (1 + WRITE_BYTES // len(frame)))
        self.sent = 0

    def write(self) -> bool:
        """False if the socket is full."""
        begin = self.sent % self.frame_bytes
        try:
            self.sent += self.client.send(self.frames[begin : begin + WRITE_BYTES])
        except BlockingIOError:
            return False
        return True

    def messages(self) -> int:
        return self.sent // self.frame_bytes


def drain(client: socket.socket) -> tuple[int, bool]:
    """Reads what there is. How much, and whether the server has ended the connection."""
    read = 0
    try:
        while part := client.recv(READ_BYTES):
            read += len(part)
    except BlockingIOError:
        return read, False
    except ConnectionError:
        pass
    return read, True


def publisher(port: int, room: str, until: float) -> dict:
    """One sends as fast as it can to many that read slowly."""
    slow = [subscriber(port, room, READ_BYTES) for _ in range(FLOOD_SUBSCRIBERS)]
    writer = Writer(subscriber(port, room), FLOOD_MESSAGE_BYTES)
    turns = collections.deque((time.time() + FLOOD_READ_S * n / len(slow), client) for n, client in enumerate(slow))
    read = ended = 0
    while (now := time.time()) < until:
        has_written = writer.write()
        drain(writer.client)
        while turns and turns[0][0] <= now:
            due, client = turns.popleft()
            try:
                part = client.recv(FLOOD_READ_BYTES)
                read += len(part)
                is_open = bool(part)
            except BlockingIOError:
                is_open = True
            except ConnectionError:
                is_open = False
            if is_open:
                turns.append((due + FLOOD_READ_S, client))
            else:
                ended += 1
        if not has_written:
            select.select([writer.client], [writer.client], [], 0.001)
    return {"messages": writer.messages(), "bytes_sent": writer.sent, "bytes_read": read, "ended": ended}


def stalled(port: int, room: str, until: float) -> dict:
    """Some never read."""
    clients = [subscriber(port, room, SMALL_BUFFER_BYTES) for _ in range(STALLED)]
    time.sleep(max(0, until - time.time()))
    read = sum(drain(client)[0] for client in clients)
    return {
        "connections": len(clients),
        "bytes_read_at_the_end": read,
    }


def storm(port: int, room: str, until: float) -> dict:
    """Many come and go."""
    asking = request(port, room)
    waiting, opened = collections.deque(), collections.deque()
    began, done = time.time(), 0
    while (now := time.time()) < until:
        if done >= (now - began) * STORM_PER_S:
            time.sleep(0.001)
            continue
        client = connect(port)
        client.sendall(asking)
        waiting.append(client)
        done += 1
        if len(waiting) > STORM_WAITING:
            opened.append(upgraded(waiting.popleft()))
        if len(opened) > STORM_OPEN_MAX:
            opened.popleft().close()
    return {"connections": done, "per_s": round(done / (time.time() - began))}


def half_open(port: int, room: str, until: float) -> dict:
    """Many begin a handshake and send a byte of it now and then."""
    asking = request(port, room)
    turns, began, opened, ended, sent = collections.deque(), time.time(), 0, 0, 0
    while (now := time.time()) < until:
        if opened < HALF_OPEN and opened < (now - began) * HALF_OPEN_PER_S:
            turns.append((now, connect(port), 0))
            opened += 1
        elif turns and turns[0][0] <= now:
            due, client, place = turns.popleft()
            try:
                sent += client.send(asking[place : place + 1])
                turns.append((due + HALF_OPEN_BYTE_S, client, place + 1))
            except ConnectionError:
                ended += 1
        else:
            time.sleep(0.001)
    return {"connections": opened, "bytes_sent": sent, "ended_by_the_server": ended}


def messages(port: int, room: str, until: float) -> dict:
    """One, alone in its room, sends short messages as fast as it can and reads what comes back."""
    client = subscriber(port, room)
    writer, read = Writer(client, MESSAGE_BYTES), 0
    while time.time() < until:
        has_written = writer.write()
        part, has_ended = drain(client)
        read += part
        if has_ended:
            raise ConnectionError("the server has ended the connection")
        if not has_written:
            select.select([client], [client], [], 0.001)
    return {"messages": writer.messages(), "bytes_sent": writer.sent, "bytes_read": read}


KINDS = {kind.__name__: kind for kind in (publisher, stalled, storm, half_open, messages)}


def main() -> None:
    kind, port, room, until = sys.argv[1:]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    begun = time.time()
    did = KINDS[kind](int(port), room, float(until))
    print(json.dumps({"began_unix_s": begun, "ended_unix_s": time.time(), **did}), flush=True)
    # The sockets go with the process, all at once.
    os._exit(0)


if __name__ == "__main__":
    main()
