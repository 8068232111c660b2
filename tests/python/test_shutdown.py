"""How the process takes its leave."""

import re
import signal
import socket
import time

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_closes_everybody_with_1001_and_ends_the_process_with_0(server, number):
    clients = server.join_all("ann", "bob", "clara")
    begun = time.monotonic()
    server.signal(number)
    for client in clients:
        code, reason = client.is_closed()
        assert code == 1001
        assert re.search(r"retry_in_ms=\d+$", reason), reason
    assert server.exit_code() == 0
    assert time.monotonic() - begun < 5, "nobody was left to wait for"


def test_an_idle_server_ends_at_once(server):
    begun = time.monotonic()
    server.signal()
    assert server.exit_code() == 0
    assert time.monotonic() - begun < 3


def silent_client(server):
    """Has its 101, and then neither reads nor answers."""
    peer = server.tcp()
    peer.sendall(
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    assert peer.recv(12) == b"HTTP/1.1 101"
    return peer


@pytest.mark.options(SHUTDOWN__DRAIN="1h")
def test_a_peer_that_does_not_answer_the_close_is_not_waited_for_long(server):
    with silent_client(server):
        server.signal()
        assert server.exit_code() == 0


@pytest.mark.options(SHUTDOWN__DRAIN="0s")
def test_nobody_is_waited_for_longer_than_the_drain(server):
    with silent_client(server):
        begun = time.monotonic()
        server.signal()
        assert server.exit_code() == 0
        assert time.monotonic() - begun < 1.5


@pytest.mark.options(SHUTDOWN__DRAIN="1h")
def test_a_second_signal_ends_the_process_at_once(server):
    with silent_client(server) as peer:
        begun = time.monotonic()
        server.signal()
        told = b""
        while b"retry_in_ms=" not in told:
            told += peer.recv(65536)
        server.signal()
        assert server.exit_code() == 130, "it did not end in its own time"
        assert time.monotonic() - begun < 1.5


def test_the_port_is_free_for_the_next_process(server):
    server.join("ann")
    server.signal()
    assert server.exit_code() == 0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", server.port))
        listener.listen()
