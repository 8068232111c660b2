"""Peers that do not keep to HTTP or RFC 6455, by raw sockets. They are told why; others go on."""

import base64
import json
import os
import struct
import zlib

import pytest

KEY = base64.b64encode(b"the sample nonce").decode()
GOOD = {
    "Host": "localhost",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}


def request(line="GET /ws HTTP/1.1", without=(), more="", **changed):
    """A request head: a good one, but for what is changed."""
    fields = {name: value for name, value in GOOD.items() if name not in without}
    fields |= {name.replace("_", "-"): value for name, value in changed.items()}
    lines = [line, *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n" + more + "\r\n").encode()


def everything(peer):
    """All bytes until the peer closes; a reset ends them too."""
    received = b""
    try:
        while piece := peer.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return received


def response(server, head):
    """Status, header fields and JSON body of the answer to these bytes, after which it is over."""
    with server.tcp() as peer:
        peer.sendall(head)
        head, _, body = everything(peer).partition(b"\r\n\r\n")
    status_line, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    assert int(fields["content-length"]) == len(body)
    return int(status_line.split()[1]), fields, body


REFUSED = {
    "another version": (request(Sec_WebSocket_Version="8"), 426),
    "no version": (request(without=["Sec-WebSocket-Version"]), 426),
    "no key": (request(without=["Sec-WebSocket-Key"]), 400),
    "a short key": (request(Sec_WebSocket_Key="c2hvcnQ="), 400),
    "a key that is not base64": (request(Sec_WebSocket_Key="*" * 24), 400),
    "two keys": (request(more=f"Sec-WebSocket-Key: {KEY}\r\n"), 400),
    "no host": (request(without=["Host"]), 400),
    "two hosts": (request(more="Host: elsewhere\r\n"), 400),
    "a host with a space": (request(Host="local host"), 400),
    "no connection upgrade": (request(Connection="keep-alive"), 400),
    "a body": (request(Content_Length="5"), 400),
    "a chunked body": (request(Transfer_Encoding="chunked"), 400),
    "a POST": (request("POST /ws HTTP/1.1"), 405),
    "a folded line": (request(more="X-Long: one\r\n two\r\n"), 400),
    "a space before the colon": (request(more="X-Field : x\r\n"), 400),
    "a NUL": (request(more="X-Field: \0\r\n"), 400),
    "no request line": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "a bad extension": (request(Sec_WebSocket_Extensions="permessage-deflate; =;"), 400),
    "another HTTP": (request("GET /ws HTTP/3.0"), 505),
    "a head of 20 KB": (request(more="X-Field: " + "x" * 20_000 + "\r\n"), 431),
    "200 fields": (request(more="X-Field: x\r\n" * 200), 431),
    "another path": (request("GET /elsewhere HTTP/1.1"), 404),
    "a path below": (request("GET /ws/a/b HTTP/1.1"), 404),
    "a room's path and no origin": (request("GET /ws/42 HTTP/1.1"), 403),
    "a room without a name": (request("GET /ws/ HTTP/1.1", Host="a.example", Origin="http://a.example"), 400),
    "a profile that is none": (request("GET /ws?profile=tall HTTP/1.1"), 400),
    "a user named twice": (request("GET /ws?user_id=a&user_id=b HTTP/1.1"), 400),
    "a bad escape": (request("GET /ws?user_id=%zz HTTP/1.1"), 400),
    "an empty user": (request("GET /ws?user_id= HTTP/1.1"), 400),
    "a user with a line end": (request("GET /ws?user_id=a%0D%0Ab HTTP/1.1"), 400),
    "a user of 5000 bytes": (request(f"GET /ws?user_id={'u' * 5000} HTTP/1.1"), 400),
    "another site's page": (request(Origin="http://evil.example"), 403),
    "a page with a look-alike host": (request(Origin="http://localhost.evil.example"), 403),
    "a page from nowhere": (request(Origin="null"), 403),
}


@pytest.mark.parametrize(("head", "status"), REFUSED.values(), ids=REFUSED.keys())
def test_an_upgrade_is_refused_with_a_status_and_a_reason(server, head, status):
    got, fields, body = response(server, head)
    assert got == status, body
    assert fields["content-type"] == "application/json"
    assert fields["connection"] == "close"
    body = json.loads(body)
    assert body["status"] == status
    assert body["code"] and body["error"] and body["request_id"] and body["timestamp"]
    assert isinstance(body["details"], dict)
    if status == 426:
        assert fields["sec-websocket-version"] == "13"
    if status == 405:
        assert fields["allow"] == "GET"
    server.join("ann").lives()


@pytest.mark.parametrize("origin", ["http://localhost", "http://LOCALHOST:80"])
def test_a_page_of_the_same_origin_may_connect(server, origin):
    with server.tcp() as peer:
        peer.sendall(request(Origin=origin))
        assert peer.recv(12) == b"HTTP/1.1 101"


@pytest.mark.options(ORIGIN__ALLOWED="http://friend.example")
def test_another_origin_can_be_allowed(server):
    with server.tcp() as peer:
        peer.sendall(request(Origin="http://friend.example"))
        assert peer.recv(12) == b"HTTP/1.1 101"
    assert response(server, request(Origin="http://localhost"))[0] == 403


def test_a_plain_request_for_what_is_not_there_is_404(server):
    assert response(server, b"GET /no/such HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")[0] == 404


@pytest.mark.options(LIMITS__HANDSHAKE_TIMEOUT="1s")
def test_a_head_that_does_not_end_is_answered_408(server):
    assert response(server, request()[:-2])[0] == 408


@pytest.mark.options(LIMITS__HANDSHAKE_TIMEOUT="1s")
def test_a_peer_that_says_nothing_is_let_go(server):
    with server.tcp() as peer:
        assert everything(peer) == b""


def test_a_head_byte_by_byte_is_as_good_as_any(server):
    with server.tcp() as peer:
        for byte in request():
            peer.sendall(bytes([byte]))
        assert peer.recv(12) == b"HTTP/1.1 101"


def test_many_who_break_off_disturb_nobody(server):
    ann, bob = server.join_all("ann", "bob")
    for cut in range(0, len(request()), 7):
        with server.tcp() as peer:
            peer.sendall(request()[:cut])
    ann.send("still here?")
    assert bob.until("chat")["content"] == "still here?"


# ---- frames: RFC 6455 section 5 ----

FIN, RSV1, MASK = 0x80, 0x40, 0x80
TEXT, BINARY, CONTINUATION, CLOSE, PING = 1, 2, 0, 8, 9


def frame(first, payload=b"", key=b"\x01\x02\x03\x04"):
    """A masked frame with the shortest length."""
    length = len(payload)
    if length < 126:
        header = bytes([first, MASK | length])
    elif length < 65536:
        header = bytes([first, MASK | 126]) + struct.pack("!H", length)
    else:
        header = bytes([first, MASK | 127]) + struct.pack("!Q", length)
    return header + key + bytes(byte ^ key[index % 4] for index, byte in enumerate(payload))


def upgraded(server, **fields):
    peer = server.tcp()
    peer.sendall(request("GET /ws?user_id=eve HTTP/1.1", **fields))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += peer.recv(1)
    assert head.startswith(b"HTTP/1.1 101"), head
    return peer


def frames(peer):
    """First byte and payload of each frame of the server, until it closes."""
    with peer.makefile("rb") as stream:
        while header := stream.read(2):
            first, length = header
            assert length < 128, "a server does not mask"
            if length == 126:
                (length,) = struct.unpack("!H", stream.read(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", stream.read(8))
            payload = stream.read(length)
            assert len(payload) == length, "the last frame is cut off"
            yield first, payload


def close_code(peer):
    """The code of the close frame that ends the frames of the server."""
    *before, (first, payload) = frames(peer)
    assert first == FIN | CLOSE
    assert all(opcode & 0x0F != CLOSE for opcode, _ in before), "one close frame, and the last"
    return struct.unpack("!H", payload[:2])[0] if payload else 1005


def test_what_is_worth_it_goes_compressed_over_the_wire_and_what_is_not_does_not(server):
    ann = server.join("ann")
    with upgraded(server, Sec_WebSocket_Extensions="permessage-deflate") as eve:
        ann.until("presence", action="join")
        ann.send("short")
        assert ann_says(eve) == (FIN | TEXT, "short")
        ann.send("tower " * 5000)
        assert ann_says(eve) == (FIN | RSV1 | TEXT, "tower " * 5000)


def ann_says(peer):
    """First byte of the next chat, and its content, inflated if it has to be."""
    for first, payload in frames(peer):
        if first & RSV1:
            assert len(payload) < 1000
            payload = zlib.decompressobj(wbits=-15).decompress(payload + b"\0\0\xff\xff")
        message = json.loads(payload)
        if message["type"] == "chat":
            return first, message["content"]
    return None


BROKEN = {
    "a frame without a mask": (bytes([FIN | TEXT, 2]) + b"hi", 1002),
    "a reserved opcode": (frame(FIN | 3, b"hi"), 1002),
    "a reserved control opcode": (frame(FIN | 11), 1002),
    "RSV1 without an extension": (frame(FIN | RSV1 | TEXT, b"hi"), 1002),
    "RSV2": (frame(FIN | 0x20 | TEXT, b"hi"), 1002),
    "a ping in fragments": (frame(PING, b"hi"), 1002),
    "a ping of 126 bytes": (frame(FIN | PING, b"x" * 126), 1002),
    "a continuation of nothing": (frame(FIN | CONTINUATION, b"hi"), 1002),
    "a message within a message": (frame(TEXT, b"hi") + frame(FIN | TEXT, b"hi"), 1002),
    "a length with its highest bit": (bytes([FIN | TEXT, MASK | 127]) + b"\xff" * 12, 1002),
    "a length of 4 exabytes": (bytes([FIN | TEXT, MASK | 127, 0x3F]) + b"\xff" * 11, 1009),
    "a long form of a short length": (bytes([FIN | TEXT, MASK | 126, 0, 2]) + bytes(6), 1002),
    "bytes that are not UTF-8": (frame(FIN | TEXT, b"\xc3\x28"), 1007),
    "UTF-8 that is cut off": (frame(FIN | TEXT, b"\xe2\x82"), 1007),
    "a surrogate": (frame(FIN | TEXT, b"\xed\xa0\x80"), 1007),
    "bad UTF-8 before the end": (frame(TEXT, b"\xff"), 1007),
    "a close of one byte": (frame(FIN | CLOSE, b"\x03"), 1002),
    "a close with 1005": (frame(FIN | CLOSE, struct.pack("!H", 1005)), 1002),
    "a close with 999": (frame(FIN | CLOSE, struct.pack("!H", 999)), 1002),
    "a close with a bad reason": (frame(FIN | CLOSE, b"\x03\xe8\xff"), 1007),
    "a message that is too long": (frame(FIN | TEXT, b"x" * 32769), 1009),
}


@pytest.mark.parametrize(("bytes_", "code"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_frame_closes_with_its_code_and_the_others_see_a_leave(server, bytes_, code):
    ann = server.join("ann")
    with upgraded(server) as eve:
        ann.until("presence", action="join", user_id="eve")
        eve.sendall(bytes_)
        assert close_code(eve) == code
    ann.until("presence", action="leave", user_id="eve")
    ann.lives()


@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"", 1005), (struct.pack("!H", 1000), 1000), (struct.pack("!H", 4999) + b"bye", 4999)],
)
def test_a_close_is_answered_with_its_own_code(server, payload, code):
    with upgraded(server) as eve:
        eve.sendall(frame(FIN | CLOSE, payload))
        assert close_code(eve) == code


def test_what_follows_a_close_frame_is_not_read(server):
    ann = server.join("ann")
    with upgraded(server) as eve:
        ann.until("presence", action="join")
        eve.sendall(frame(FIN | CLOSE) + frame(FIN | TEXT, b"too late"))
        assert close_code(eve) == 1005
    assert ann.frame()["action"] == "leave"


def test_frames_byte_by_byte_are_as_good_as_any(server):
    ann = server.join("ann")
    with upgraded(server) as eve:
        whole = frame(TEXT, "gr\u00fc".encode()[:3]) + frame(FIN | PING, b"now")
        whole += frame(FIN | CONTINUATION, "gr\u00fc\u00df".encode()[3:])
        for byte in whole:
            eve.sendall(bytes([byte]))
        assert ann.until("chat")["content"] == "grüß"


def test_frames_that_come_with_the_head_are_read(server):
    ann = server.join("ann")
    with server.tcp() as eve:
        eve.sendall(request("GET /ws?user_id=eve HTTP/1.1") + frame(FIN | TEXT, b"in a hurry"))
        assert ann.until("chat")["content"] == "in a hurry"


@pytest.mark.parametrize("seed", range(5))
def test_noise_after_the_upgrade_ends_that_connection_only(server, seed):
    ann, bob = server.join_all("ann", "bob")
    with upgraded(server) as eve:
        # 0x7f: reserved bits, so that whatever follows is no frame. The rest differs every time.
        eve.sendall(bytes([0x7F, seed]) + os.urandom(4096))
        assert close_code(eve) == 1002
    ann.send("undisturbed")
    assert bob.until("chat")["content"] == "undisturbed"


@pytest.mark.options(LIMITS__MESSAGES_PER_SECOND=0)
def test_a_peer_that_never_reads_delays_nobody(server):
    ann, bob = server.join_all("ann", "bob")
    with upgraded(server):
        for number in range(300):
            ann.send(f"{number} " + "x" * 30_000)
            assert bob.until("chat")["content"].startswith(f"{number} ")
