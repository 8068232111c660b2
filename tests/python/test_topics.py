"""The application of a client that knows topics, requests with ids, and how to resume.

Numbers are those of the requirements for such clients: the envelope (1.1), binary messages (1.2),
subscribe, unsubscribe, publish, rpc and heartbeat (1.3), authentication (1.5), reconnecting and
recovery (1.8, 1.9), errors by id (1.10), batches (1.11).
"""

import itertools
import json
import struct
import time
from threading import Thread

import pytest
from conftest import SOON
from test_chat import UUID_V7, is_now
from websockets.exceptions import InvalidStatus


def subscribe(client, topic, **more):
    answer = client.reply({"type": "subscribe", "id": f"s-{topic}", "data": {"topic": topic} | more})
    assert answer["type"] == "subscribed", answer
    return answer["data"]


def publish(client, topic, content, **more):
    data = {"topic": topic, "data": content} | more
    answer = client.reply({"type": "publish", "id": f"p-{topic}", "data": data})
    assert answer["type"] == "ack", answer
    return answer["data"]


# ---- envelope and types: 1.1, 1.3 ----


def test_req_1_1_frames_have_type_data_and_id(server):
    ann, bob = server.connect("ann"), server.connect("bob")
    assert ann.welcome["type"] == "connection-status"
    welcome = ann.welcome["data"]
    assert (welcome["status"], welcome["user_id"], welcome["profile"]) == ("established", "ann", "v1")
    assert (welcome["heartbeat_ms"], welcome["max_message_size"]) == (54_000, 32_768)
    subscribe(bob, "prices")
    ack = publish(ann, "prices", {"btc": 50010}, event="tick")
    frame = bob.frame()
    assert set(frame) == {"type", "id", "room_id", "user_id", "offset", "timestamp", "data"}
    assert (frame["type"], frame["room_id"], frame["user_id"]) == ("publish", "prices", "ann")
    assert frame["data"] == {"topic": "prices", "event": "tick", "data": {"btc": 50010}}
    assert UUID_V7.fullmatch(frame["id"]) and is_now(frame["timestamp"])
    assert (frame["id"], frame["offset"]) == (ack["message_id"], ack["offset"])


def test_req_1_3_who_subscribes_hears_until_it_unsubscribes(server):
    ann, bob = server.connect("ann"), server.connect("bob")
    data = subscribe(bob, "prices")
    assert (data["topic"], data["offset"], data["members"]) == ("prices", 0, 1)
    assert data["epoch"]
    assert "recovered" not in data
    publish(ann, "prices", 1)
    assert bob.until("publish")["data"]["data"] == 1
    publish(ann, "other", 2)
    answer = bob.answer({"type": "unsubscribe", "id": "u", "data": {"topic": "prices"}})
    assert (answer["type"], answer["data"]) == ("unsubscribed", {"topic": "prices"})
    publish(ann, "prices", 3)
    bob.hears_nothing()


@pytest.mark.parametrize("name", ["topic", "channel", "room_id", "chat_id"])
@pytest.mark.parametrize("is_inside", [True, False])
def test_req_1_3_channels_and_topics_are_synonyms(server, name, is_inside):
    ann, bob = server.connect("ann"), server.connect("bob")
    request = {"type": "subscribe", "id": "1", "data": {}}
    (request["data"] if is_inside else request)[name] = "prices"
    assert bob.reply(request)["data"]["topic"] == "prices"
    publish(ann, "prices", 1)
    assert bob.until("publish")["room_id"] == "prices"


@pytest.mark.parametrize("content", [None, 0, "text", [1, {"a": []}], {"type": "chat", "id": 1}, True])
def test_req_1_3_any_json_is_published_as_it_is(server, content):
    ann, bob = server.connect("ann"), server.connect("bob")
    subscribe(bob, "prices")
    ack = publish(ann, "prices", content)
    assert (ack["topic"], ack["offset"]) == ("prices", 1)
    assert ack["epoch"]
    assert bob.frame()["data"] == {"topic": "prices", "data": content}


def test_req_1_3_echo_is_the_publishers_choice(server):
    ann, bob = server.connect("ann"), server.connect("bob")
    for client in (ann, bob):
        subscribe(client, "prices")
    publish(ann, "prices", "not to me", echo=False)
    publish(ann, "prices", "nor that")
    ann.send({"type": "publish", "data": {"topic": "prices", "data": "to me", "echo": True}})
    assert ann.frame()["data"]["data"] == "to me"
    assert [bob.frame()["data"]["data"] for _ in range(3)] == ["not to me", "nor that", "to me"]
    ann.hears_nothing()


def test_req_1_3_an_acknowledgement_comes_if_there_is_an_id(server):
    ann = server.connect("ann")
    ann.send({"type": "publish", "data": {"topic": "prices", "data": 1}})
    ann.hears_nothing()
    assert [publish(ann, "prices", n)["offset"] for n in range(3)] == [2, 3, 4]


def test_req_1_3_rpc_calls_methods(server):
    ann = server.connect("ann")
    assert is_now(ann.rpc("server.time")["time"])
    mine = ann.rpc("user.connections")
    own = {"connection_id": ann.welcome["data"]["connection_id"], "is_own": True}
    assert (mine["count"], mine["connections"]) == (1, [own])
    ann.rpc("room.create", room_id="7", name="Team")
    rooms = ann.rpc("room.list")["rooms"]
    assert [(room["id"], room["name"]) for room in rooms] == [("7", "Team")]


def test_req_1_3_heartbeats_are_answered(server):
    ann = server.connect("ann")
    answer = ann.reply({"type": "heartbeat", "id": "9"})
    assert answer["type"] == "heartbeat"
    assert is_now(answer["timestamp"])


# ---- authentication after opening: 1.5 ----


@pytest.mark.parametrize(
    "frame",
    [{"type": "authentication", "token": "x.y.z"}, {"type": "authentication", "data": {"token": "x"}}],
)
def test_req_1_5_who_is_let_in_cannot_become_somebody_else(server, frame):
    ann = server.connect("ann")
    answer = ann.reply(frame | {"id": "1"})
    assert (answer["type"], answer["data"]["code"]) == ("error", "conflict")
    ann.lives()


# ---- binary messages: 1.2 ----


def binary(envelope, content):
    text = json.dumps(envelope).encode()
    return struct.pack(">BBH", 1, 0, len(text)) + text + content


def unpacked(message):
    """Envelope and payload of a binary message."""
    assert isinstance(message, bytes)
    version, flags, length = struct.unpack(">BBH", message[:4])
    assert (version, flags) == (1, 0)
    return json.loads(message[4 : 4 + length]), message[4 + length :]


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 5000, "é".encode()])
def test_req_1_2_bytes_go_both_ways(server, content):
    ann, bob = server.connect("ann"), server.connect("bob")
    for client in (ann, bob):
        subscribe(client, "pictures")
    for speaker, listener in [(ann, bob), (bob, ann)]:
        envelope = {"type": "publish", "id": "1", "data": {"topic": "pictures", "event": "png"}}
        speaker.send(binary(envelope, content))
        ack = speaker.frame()
        assert (ack["type"], ack["id"]) == ("ack", "1")
        envelope, received = unpacked(listener.socket.recv(timeout=SOON))
        assert received == content
        assert envelope["id"] == ack["data"]["message_id"]
        assert (envelope["type"], envelope["user_id"]) == ("publish", speaker.user)
        assert envelope["data"] == {"topic": "pictures", "event": "png"}


def test_req_1_2_every_profile_gets_bytes_with_its_own_envelope(server):
    ann, flat = server.connect("ann"), server.connect("bob", query={"profile": "flat"})
    message = server.connect("clara", path="/api/v1/ws")
    flat.send({"type": "subscribe", "id": "1", "topic": "pictures"})
    assert flat.until("subscribed")["topic"] == "pictures"
    message.send({"type": "subscribe", "id": "1", "message": {"chat_id": "pictures"}})
    assert message.until("subscribed")["message"]["topic"] == "pictures"
    ann.send(binary({"type": "publish", "data": {"topic": "pictures"}}, b"\x89PNG"))
    envelope, content = unpacked(flat.socket.recv(timeout=SOON))
    assert (envelope["user_id"], content) == ("ann", b"\x89PNG")
    envelope, content = unpacked(message.socket.recv(timeout=SOON))
    assert (envelope["message"]["user_id"], content) == ("ann", b"\x89PNG")


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", "invalid_message"),
        (b"\x01\x00\x00", "invalid_message"),
        (b"\x02\x00\x00\x02{}", "invalid_message"),
        (b"\x01\x00\x00\x03{}", "invalid_message"),
        (b"\x01\x00\xff\xff{}", "payload_too_large"),
        (b"\x01\x00\x00\x02{]", "invalid_json"),
        (binary({"type": "chat", "data": {"text": "x"}}, b""), "invalid_message"),
    ],
)
def test_req_1_2_bytes_that_are_no_message_are_refused(server, message, code):
    ann = server.connect("ann")
    assert ann.answer(message)["data"]["code"] == code
    ann.lives()


# ---- errors by id: 1.10 ----

FAILING = {
    "unknown type": ({"type": "nope"}, "unknown_type"),
    "no topic": ({"type": "subscribe", "data": {}}, "room_required"),
    "empty topic": ({"type": "subscribe", "data": {"topic": ""}}, "invalid_message"),
    "long topic": ({"type": "subscribe", "data": {"topic": "x" * 257}}, "invalid_message"),
    "recovery of nothing": ({"type": "subscribe", "topic": "a", "recover": {}}, "invalid_message"),
    "not subscribed": ({"type": "unsubscribe", "data": {"topic": "a"}}, "not_subscribed"),
    "no content": ({"type": "publish", "data": {"topic": "a"}}, "invalid_message"),
    "no method": ({"type": "rpc", "data": {}}, "invalid_message"),
    "unknown method": ({"type": "rpc", "data": {"method": "no.such"}}, "not_found"),
    "wrong params": ({"type": "rpc", "data": {"method": "room.get", "params": 1}}, "invalid_message"),
    "no such room": (
        {"type": "rpc", "data": {"method": "room.get", "params": {"room_id": "a"}}},
        "not_found",
    ),
    "not in the room": ({"type": "typing", "data": {"room_id": "a", "is_typing": True}}, "not_subscribed"),
    "no token": ({"type": "authentication"}, "invalid_message"),
    "not an admin": ({"type": "announcement", "data": {"message": "x"}}, "forbidden"),
}


@pytest.mark.parametrize("name", FAILING)
def test_req_1_10_what_fails_is_answered_with_an_error_by_id(server, name):
    request, code = FAILING[name]
    ann = server.connect("ann")
    answer = ann.answer(request | {"id": "failing"})
    assert (answer["type"], answer["id"]) == ("error", "failing")
    assert set(answer) == {"type", "id", "timestamp", "data"}
    data = answer["data"]
    assert (data["code"], data["ref_type"]) == (code, request["type"])
    assert isinstance(data["error"], str) and data["error"]
    assert is_now(data["timestamp"])
    ann.lives()


def test_req_1_10_a_message_that_cannot_be_read_to_its_end_is_an_error_by_id_too(server):
    ann = server.connect("ann")
    answer = ann.answer('{"type":"subscribe","id":"1","topic":"a","room_id":"b"}')
    assert (answer["id"], answer["data"]["code"]) == ("1", "invalid_message")
    answer = ann.answer('{"type":"subscribe","id":"1","topic":"a"')
    assert answer["data"]["code"] == "invalid_json"
    assert "id" not in answer
    ann.lives()


# ---- batches: 1.11 ----


def test_req_1_11_a_batch_is_handled_one_after_the_other_and_answered_one_by_one(server):
    ann, bob = server.connect("ann"), server.connect("bob")
    subscribe(bob, "prices")
    batch = [
        {"type": "publish", "id": str(n), "data": {"topic": "prices", "data": n}} for n in range(64)
    ]
    batch[10] = {"type": "nope", "id": "10"}
    ann.send(json.dumps(batch))
    answers = [ann.frame() for _ in range(64)]
    assert sorted(int(answer["id"]) for answer in answers) == list(range(64))
    assert [a["type"] for a in answers if a["id"] == "10"] == ["error"]
    heard = [bob.frame()["data"]["data"] for _ in range(63)]
    assert heard == [n for n in range(64) if n != 10]
    ann.send(json.dumps(batch + batch[:1]))
    assert ann.frame()["data"]["code"] == "invalid_message"
    bob.hears_nothing()


# ---- reconnecting and recovery: 1.8, 1.9 ----


class Resuming:
    """A client that comes back with growing delays, subscribes again and recovers."""

    def __init__(self, server, user, topic):
        self.server, self.user, self.topic = server, user, topic
        self.position = None
        self.heard = []
        self.recoveries = []
        self.come_back()

    def come_back(self, delay_min=0.01, delay_max=0.2, attempts=10):
        for attempt in itertools.count():
            try:
                self.client = self.server.connect(self.user)
                break
            except (OSError, InvalidStatus):
                if attempt == attempts:
                    raise
                time.sleep(min(delay_max, delay_min * 2**attempt))
        recover = {"recover": self.position} if self.position else {}
        data = subscribe(self.client, self.topic, **recover)
        self.recoveries.append(data.get("recovered"))
        if not data.get("recovered"):
            self.position = {"epoch": data["epoch"], "offset": data["offset"]}

    def listen(self, count, torn_after=()):
        """Until so many messages have been heard; after some of them the network fails."""
        while len(self.heard) < count:
            frame = self.client.frame()
            assert frame["type"] == "publish", frame
            self.position["offset"] = frame["offset"]
            self.heard.append(frame["data"]["data"])
            if len(self.heard) in torn_after:
                # What is on its way, or here and not looked at yet, is lost with the connection.
                self.client.socket.socket.shutdown(2)
                self.come_back()


def test_req_1_9_nothing_is_missed_and_nothing_comes_twice_across_lost_connections(server):
    total = 80
    listener = Resuming(server, "bob", "prices")

    def speak():
        ann = server.connect("ann")
        for number in range(total):
            publish(ann, "prices", number)

    speaker = Thread(target=speak)
    speaker.start()
    try:
        listener.listen(total, torn_after=range(5, total, 15))
    finally:
        speaker.join()
    assert listener.heard == list(range(total))
    assert listener.recoveries == [None] + [True] * 5
    listener.client.hears_nothing()


def test_req_1_8_a_server_that_was_away_is_found_again_and_says_that_it_knows_no_more(server):
    listener = Resuming(server, "bob", "prices")
    publish(server.connect("ann"), "prices", "before")
    listener.listen(1)
    server.restart()
    listener.come_back()
    assert listener.recoveries == [None, False]
    publish(server.connect("ann"), "prices", "after")
    listener.listen(2)
    assert listener.heard == ["before", "after"]


def test_req_1_9_messages_of_the_time_away_are_replayed_with_their_offsets(server):
    ann, bob = server.connect("ann"), server.connect("bob")
    known = subscribe(bob, "prices")
    publish(ann, "prices", 0)
    heard = bob.frame()
    bob.close()
    ids = [publish(ann, "prices", number)["message_id"] for number in range(1, 4)]
    bob = server.connect("bob")
    recover = {"epoch": known["epoch"], "offset": heard["offset"]}
    data = subscribe(bob, "prices", recover=recover)
    assert (data["recovered"], data["replayed"], data["offset"]) == (True, 3, 4)
    replayed = [bob.frame() for _ in range(3)]
    assert [frame["id"] for frame in replayed] == ids
    assert [frame["offset"] for frame in replayed] == [2, 3, 4]
    assert [frame["data"]["data"] for frame in replayed] == [1, 2, 3]
    assert {frame["user_id"] for frame in replayed} == {"ann"}
    publish(ann, "prices", 4)
    assert bob.frame()["offset"] == 5


@pytest.mark.config('[[namespace]]\npattern = "*"\nhistory_size = 3\n')
def test_req_1_9_a_recovery_is_whole_or_none(server):
    ann, bob = server.connect("ann"), server.connect("bob")
    epoch = publish(ann, "prices", 0)["epoch"]
    for number in range(1, 5):
        publish(ann, "prices", number)
    for recover, is_whole in [
        ({"epoch": epoch, "offset": 2}, True),
        ({"epoch": epoch, "offset": 1}, False),
        ({"epoch": epoch, "offset": 5}, True),
        ({"epoch": epoch, "offset": 6}, False),
        ({"epoch": "another", "offset": 4}, False),
    ]:
        data = subscribe(bob, "prices", recover=recover)
        replayed = [bob.frame()["offset"] for _ in range(data["replayed"])]
        missed = list(range(recover["offset"] + 1, 6)) if is_whole else []
        assert (data["recovered"], replayed) == (is_whole, missed), recover
        assert data["offset"] == 5
        bob.hears_nothing()


def test_req_1_9_a_message_that_is_sent_again_is_published_once(server):
    ann, bob, clara = (server.connect(user) for user in ("ann", "bob", "clara"))
    subscribe(bob, "prices")
    first = publish(ann, "prices", "once", client_message_id="c1")
    ann.socket.socket.shutdown(2)
    ann = server.connect("ann")
    assert publish(ann, "prices", "once", client_message_id="c1") == first
    assert publish(ann, "prices", "twice", client_message_id="c2") != first
    assert publish(clara, "prices", "another's", client_message_id="c1") != first
    heard = [bob.frame()["data"]["data"] for _ in range(3)]
    assert heard == ["once", "twice", "another's"]
    bob.hears_nothing()
