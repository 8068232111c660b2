"""The clients that fill the server: they upload without end, ask and do not read, or are merely many.

    clients.py PORT PLAN        PLAN: JSON, see Plan

Prints a JSON object a line: what each handshake of the crowd was answered, and when. Bounded in time and
count by the plan.
"""

import dataclasses
import json
import resource
import socket
import struct
import sys
import time

CONNECT_S = 5
# The server's answers stay with the server.
SMALL_BUFFER_BYTES = 4096
TICK_S = 0.05
MASK = bytes(4)
RESET = struct.pack("ii", 1, 0)
ROOM = "archive"
# What the room remembers, which those who do not read ask for: 50 messages of 8 KiB.
MEMORIES, MEMORY_BYTES = 50, 8 * 1024
# What the kernel takes for a peer that does not read is some megabytes; the rest is the server's to hold.
ASKS = 20


@dataclasses.dataclass
class Plan:
    """Times are seconds since 1970."""

    fat_from: float
    crowd_from: float
    until: float
    # How many of each kind of the fat there are, and how much each uploads.
    uploaders: int
    readers: int
    fat_bytes: int
    # In what time they send what they have to send, if nobody stops them.
    fat_s: float
    # Those of the crowd: attempts, how many a second, and what each sends of a message.
    crowd: int
    crowd_per_s: float
    crowd_bytes: int


class Refused(Exception):
    def __init__(self, status: int, retry_after: str | None):
        super().__init__(status)
        self.status, self.retry_after = status, retry_after


def connect(port: int, user: str, buffer_bytes: int | None = None) -> socket.socket:
    """An open connection that does not block. Raises Refused."""
    client = socket.socket()
    if buffer_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    client.settimeout(CONNECT_S)
    client.connect(("127.0.0.1", port))
    client.sendall(
        f"GET /v1/connect?user_id={user} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
    )
    answer = b""
    while b"\r\n\r\n" not in answer:
        if not (part := client.recv(4096)):
            raise ConnectionError(f"no answer but {answer!r}")
        answer += part
    status = int(answer.split(b" ", 2)[1])
    if status != 101:
        fields = dict(line.lower().split(": ", 1) for line in answer.decode().split("\r\n") if ": " in line)
        client.close()
        raise Refused(status, fields.get("retry-after"))
    client.setblocking(False)
    return client


def header(payload_bytes: int) -> bytes:
    """Of a text frame. The mask is of zeroes: the payload is sent as it is."""
    if payload_bytes < 126:
        length = bytes([0x80 | payload_bytes])
    elif payload_bytes < 1 << 16:
        length = b"\xfe" + struct.pack(">H", payload_bytes)
    else:
        length = b"\xff" + struct.pack(">Q", payload_bytes)
    return b"\x81" + length + MASK


def frame(value: dict) -> bytes:
    payload = json.dumps(value).encode()
    return header(len(payload)) + payload


def ask() -> bytes:
    data = {"method": "room.history", "params": {"room_id": ROOM, "limit": MEMORIES}}
    return frame({"type": "rpc", "id": "1", "data": data})


class Fat:
    """Sends what it has to, a little at each tick."""

    def __init__(self, client: socket.socket, text: bytes, seconds: float):
        self.client, self.text, self.seconds, self.sent = client, memoryview(text), seconds, 0

    def tick(self, since: float) -> None:
        due = min(len(self.text), int(len(self.text) * since / self.seconds))
        try:
            while self.sent < due:
                self.sent += self.client.send(self.text[self.sent : due])
        except BlockingIOError:
            pass  # The server does not read: that is what is to be shown.
        except ConnectionError:
            self.sent = len(self.text)  # The server has had enough of it.


def fill_room(port: int) -> socket.socket:
    """Has the room remember much. It lives as long as somebody is in it."""
    client = connect(port, "archivist")
    client.settimeout(CONNECT_S)
    client.sendall(frame({"type": "subscribe", "id": "1", "data": {"topic": ROOM}}))
    for _ in range(MEMORIES):
        content = "x" * MEMORY_BYTES
        client.sendall(frame({"type": "chat", "data": {"topic": ROOM, "content": content}}))
    client.settimeout(0.5)
    try:
        while client.recv(1 << 16):
            pass
    except TimeoutError:
        client.setblocking(False)
    return client


def fatten(port: int, plan: Plan) -> list[Fat]:
    # All but the last byte of a message.
    upload = header(plan.fat_bytes) + bytes(plan.fat_bytes - 1)
    subscribe = frame({"type": "subscribe", "id": "0", "data": {"topic": ROOM}})
    asks = subscribe + ask() * ASKS
    fat = [Fat(connect(port, f"up-{n}"), upload, plan.fat_s) for n in range(plan.uploaders)]
    return fat + [Fat(connect(port, f"deaf-{n}", SMALL_BUFFER_BYTES), asks, plan.fat_s) for n in range(plan.readers)]


def tell(**what) -> None:
    print(json.dumps(what), flush=True)


def wait(until: float) -> None:
    time.sleep(max(0.0, until - time.time()))


def main() -> None:
    port, plan = int(sys.argv[1]), Plan(**json.loads(sys.argv[2]))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    archivist = fill_room(port)
    wait(plan.fat_from)
    fat, crowd, tried = fatten(port, plan), [], 0
    part = header(2 * plan.crowd_bytes) + bytes(plan.crowd_bytes)
    while (now := time.time()) < plan.until:
        for client in fat:
            client.tick(now - plan.fat_from)
        due = min(plan.crowd, int((now - plan.crowd_from) * plan.crowd_per_s))
        while tried < due:
            tried += 1
            try:
                client = connect(port, f"one-of-{tried}")
                client.send(part)
                crowd.append(client)
                tell(unix_s=time.time(), status=101)
            except Refused as refused:
                tell(unix_s=time.time(), status=refused.status, retry_after=refused.retry_after)
            except OSError as error:
                tell(unix_s=time.time(), status=0, error=str(error))
        time.sleep(TICK_S)
    for client in [archivist, *crowd, *(fat.client for fat in fat)]:
        client.close()


if __name__ == "__main__":
    main()
