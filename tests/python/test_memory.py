"""The memory budget of the binary: at its end nobody else comes in, who is there stays, and it comes back."""

import http.client
import json
import struct
import time
import urllib.request

from conftest import SOON, free_port

#: More than the binary takes by itself, and less than what is sent to it.
LIMIT_MIB, PARTS = 96, 96
MIB = 1 << 20
#: The memory is looked at once a second, and given back to the kernel some seconds later.
BACK = 30


def ask(server, path):
    """Status, fields and body of a plain request to the clients' listener."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=SOON)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.headers, json.loads(answer.read())


def wait_for(condition, seconds=SOON):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def half_a_message(server):
    """A connection that has sent all but one byte of a message of a mebibyte; `None` if it was refused."""
    peer = server.tcp()
    head = f"GET /v1/connect HTTP/1.1\r\nHost: x:{server.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    peer.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    status = peer.recv(12)
    if status == b"HTTP/1.1 503":
        return peer.close()
    assert status == b"HTTP/1.1 101"
    peer.settimeout(0.2)
    try:
        peer.sendall(b"\x81\xff" + struct.pack(">Q", MIB) + bytes(4) + bytes(MIB - 1))
    except TimeoutError:
        pass  # Read no more: the marks have been reached.
    return peer


def paused(port):
    """Connections that are not read from for want of memory, as the admin listener says."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SOON) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("campanile_memory_paused_connections"))


OPTIONS = {
    "AUTH__MODE": "trust",
    "LIMITS__MEMORY_LIMIT": f"{LIMIT_MIB}MiB", "LIMITS__MEMORY_SOFT": "79%", "LIMITS__MEMORY_HARD": "80%",
    "LIMITS__MAX_MESSAGE_SIZE": "1MiB", "LIMITS__QUEUE_BYTES": "2MiB", "LIMITS__TOPIC_WINDOW_BYTES": "2MiB",
}  # fmt: skip


def test_at_the_end_of_the_budget_handshakes_are_refused_and_it_comes_back(start):
    admin = free_port()
    server = start(OPTIONS, admin=f"127.0.0.1:{admin}")
    ann = server.join("ann")
    assert ask(server, "/readyz")[0] == 200
    peers = []
    # It is looked at once a second: what comes between two looks is let in.
    while ask(server, "/readyz")[0] == 200 and len(peers) < PARTS:
        peers.append(half_a_message(server))
    wait_for(lambda: ask(server, "/readyz")[0] == 503)
    checks = ask(server, "/readyz")[2]["checks"]
    assert checks["memory"] == "failing" and checks["shards"] == "ok"
    refused, body = server.refusal("bob")
    assert (refused.status_code, body["code"]) == (503, "unavailable")
    assert int(refused.headers["Retry-After"]) >= 1
    assert ask(server, "/healthz")[0] == 200, "a restart would be no remedy"
    ann.lives()
    # That peers are gone must be seen though what they have sent is not read on.
    wait_for(lambda: paused(admin) > 0)
    for peer in filter(None, peers):
        peer.close()
    wait_for(lambda: ask(server, "/readyz")[0] == 200, BACK)
    server.join("bob").lives()
    assert "memory is used up" in server.log.read_text() and "memory is enough again" in server.log.read_text()
