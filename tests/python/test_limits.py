"""What one peer may take, and permessage-deflate: requirements 4.8 and 4.14."""

import json
import random
import string
import zlib

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

MESSAGE_BYTES_MAX = 32768

# ---- connections of one user: 4.8 ----


def test_the_sixth_connection_of_a_user_is_refused_before_the_upgrade(server):
    for _ in range(5):
        server.join("ann")
    response, body = server.refusal("ann")
    assert response.status_code == 429
    assert response.headers["content-type"] == "application/json"
    assert body["code"] == "connection_limit"
    assert body["status"] == 429
    assert body["details"]["limit"] == 5
    assert body["error"] and body["request_id"] and body["timestamp"]
    server.join("bob")


def test_a_closed_connection_makes_room_for_another(server):
    clients = [server.join("ann") for _ in range(5)]
    server.refusal("ann")
    watcher = server.join("bob")
    clients[2].close()
    watcher.lives()
    server.join("ann").lives()
    server.refusal("ann")


@pytest.mark.options(LIMITS__MAX_CONNECTIONS_PER_USER=2, LIMITS__ON_USER_LIMIT="evict_oldest")
def test_a_newer_connection_evicts_the_oldest_with_4409(server):
    watcher, oldest = server.join_all("bob", "ann")
    second, third = server.join("ann"), server.join("ann")
    assert oldest.is_closed()[0] == 4409
    second.lives()
    third.lives()
    watcher.hears_nothing()


@pytest.mark.options(LIMITS__MAX_CONNECTIONS_PER_USER=1, LIMITS__ON_USER_LIMIT="evict_oldest")
def test_an_evicted_only_connection_is_no_leave_for_the_newcomer(server):
    server.join("ann")
    snapshot = server.join("ann").snapshot
    assert snapshot["count"] == 1
    assert [user["connections"] for user in snapshot["users"]] == [1]


@pytest.mark.options(LIMITS__MAX_CONNECTIONS_PER_USER=0)
def test_zero_means_no_limit(server):
    assert [server.join("ann") for _ in range(20)][-1].snapshot["users"][0]["connections"] == 20


@pytest.mark.options(LIMITS__MAX_CONNECTIONS=2)
def test_a_full_server_refuses_with_503_and_says_when_to_come_back(server):
    server.join_all("ann", "bob")
    response, body = server.refusal("clara")
    assert response.status_code == 503
    assert body["code"] == "unavailable"
    assert int(response.headers["retry-after"]) > 0


# ---- size of a message ----


def test_the_largest_message_passes_and_one_byte_more_closes_with_1009(server):
    ann, bob = server.join_all("ann", "bob")
    text = "x" * MESSAGE_BYTES_MAX
    ann.send(text)
    assert bob.until("chat")["content"] == text
    ann.send(text + "x")
    assert ann.is_closed()[0] == 1009
    bob.until("presence", action="leave", user_id="ann")


def test_fragments_count_together(server):
    ann, bob = server.join_all("ann", "bob")
    ann.socket.send(["é" * 1000] * 16)
    assert bob.until("chat")["content"] == "é" * 16000
    ann.socket.send(["x" * 1024] * 33)
    assert ann.is_closed()[0] == 1009


@pytest.mark.options(LIMITS__MAX_MESSAGE_SIZE=1000)
def test_the_limit_can_be_chosen(server):
    ann = server.join("ann", compression=None)
    ann.send("x" * 1000)
    ann.lives()
    ann.send("x" * 1001)
    assert ann.is_closed()[0] == 1009


def test_a_message_counts_as_what_it_inflates_to(server):
    # 10 MB of zeros, of which deflate makes 10 KB.
    ann = server.join("ann")
    assert len(zlib.compress(bytes(10_000_000))) < MESSAGE_BYTES_MAX
    ann.send("0" * 10_000_000)
    assert ann.is_closed()[0] == 1009


# ---- permessage-deflate: 4.14 ----


def extensions(client):
    return client.socket.response.headers.get("sec-websocket-extensions", "")


def test_permessage_deflate_is_agreed_on_and_messages_survive_it(server):
    ann, bob = server.join_all("ann", "bob")
    assert extensions(ann).startswith("permessage-deflate")
    clara = server.join("clara", compression=None)
    assert extensions(clara) == ""
    dice = random.Random(7692)
    noise = "".join(dice.choices(string.printable + "äöü東京🔔", k=8000))
    for content in ["tower " * 5000, noise, "x", "bell " * 3000, noise[::-1]]:
        ann.send(json.dumps({"type": "chat", "content": content}, ensure_ascii=False))
        assert bob.until("chat")["content"] == content
        assert clara.until("chat")["content"] == content


@pytest.mark.parametrize("client_max_window_bits", [9, 12, 15])
@pytest.mark.parametrize("no_context", [False, True])
def test_every_window_that_a_client_offers_works(server, client_max_window_bits, no_context):
    offer = ClientPerMessageDeflateFactory(
        client_max_window_bits=client_max_window_bits,
        client_no_context_takeover=no_context,
        server_no_context_takeover=no_context,
    )
    bob = server.join("bob")
    ann = server.join("ann", compression=None, extensions=[offer])
    assert extensions(ann).startswith("permessage-deflate")
    for number in range(5):
        content = f"message {number} " * 1000
        ann.send({"type": "chat", "content": content})
        assert bob.until("chat")["content"] == content
        bob.send({"type": "chat", "content": content})
        assert ann.until("chat")["content"] == content


@pytest.mark.options(COMPRESSION__ENABLED="false")
def test_compression_can_be_switched_off(server):
    ann, bob = server.join_all("ann", "bob")
    assert extensions(ann) == ""
    ann.send("tower " * 5000)
    assert bob.until("chat")["content"] == "tower " * 5000
