"""What became of a message, and what outlives a connection or the server.

Numbers are those of the requirements: types (2.5 to 2.7), message-status (2.10), messages that wait
for who is away (2.15), persistent rooms (3.9, 3.10).
"""

import json
import signal
import urllib.error
import urllib.request

import pytest
from conftest import SOON

MESSAGE = "/api/v1/ws"


def connect(server, user):
    return server.connect(user, path=MESSAGE)


def rpc(client, method, **params):
    answer = client.reply({"type": "rpc", "id": "call", "message": {"method": method, "params": params}})
    assert answer["type"] == "rpc", answer
    return answer["message"]["result"]


def enter(client, *chats):
    for chat in chats:
        answer = client.reply({"type": "subscribe", "id": "enter", "message": {"chat_id": chat}})
        assert answer["type"] == "subscribed", answer


def say(client, chat, content):
    """Sends a chat, and waits until the server has it; its identifier."""
    message = {"chat_id": chat, "content": content, "client_message_id": content}
    client.send({"type": "chat", "message": message})
    status = status_of(client)
    assert (status["status"], status["client_message_id"]) == ("sent", content)
    return status["message_id"]


def status_of(client):
    return client.until("message-status")["message"]


# ---- message-status: 2.10 ----


@pytest.mark.options(DELIVERY__PROOF="ack")
def test_req_2_10_with_acknowledgements_delivered_is_the_readers_word(server):
    ann, bob = connect(server, "ann"), connect(server, "bob")
    enter(bob, "7")
    message = say(ann, "7", "hi")
    assert bob.until("chat")["message"]["message_id"] == message
    ann.hears_nothing()
    for status in ["delivered", "READ"]:
        told = {"message_id": message, "chat_id": "7", "status": status}
        bob.send({"type": "message-status", "message": told})
        heard = status_of(ann)
        assert (heard["status"], heard["recipient_id"]) == (status.lower(), "bob")


@pytest.mark.parametrize("proof", ["pong", "write"])
def test_req_2_10_a_recipient_is_told_of_once_however_many_tabs_it_has(request, proof):
    request.node.add_marker(pytest.mark.options(DELIVERY__PROOF=proof))
    server = request.getfixturevalue("server")
    ann, *bobs = connect(server, "ann"), connect(server, "bob"), connect(server, "bob")
    for bob in bobs:
        enter(bob, "7")
    message = say(ann, "7", "hi")
    delivered = status_of(ann)
    assert (delivered["status"], delivered["recipient_id"]) == ("delivered", "bob")
    assert delivered["message_id"] == message
    up_to = {"type": "message-status", "message": {"chat_id": "7", "up_to": message, "status": "read"}}
    for bob in bobs:
        assert bob.until("chat")["message"]["message_id"] == message
        bob.send(up_to)
        bob.lives()
    assert status_of(ann)["status"] == "read"
    ann.hears_nothing()


def test_req_2_10_reading_the_newest_reads_all_before_it(server):
    ann, bob = connect(server, "ann"), connect(server, "bob")
    enter(bob, "7")
    messages = [say(ann, "7", content) for content in ("one", "two", "three")]
    up_to = {"chat_id": "7", "up_to": messages[1], "status": "read"}
    bob.send({"type": "message-status", "message": up_to})
    reached = {}
    while list(reached.values()).count("read") < 2 or len(reached) < 3:
        status = status_of(ann)
        order = ["delivered", "read"]
        before = reached.get(status["message_id"], "delivered")
        assert order.index(status["status"]) >= order.index(before)
        reached[status["message_id"]] = status["status"]
    assert [reached[message] for message in messages] == ["read", "read", "delivered"]


@pytest.mark.options(DELIVERY__MAX_RECIPIENTS=2)
def test_req_2_10_of_too_many_recipients_the_number_is_told(server):
    ann, *others = (connect(server, user) for user in ("ann", "bob", "clara", "dora"))
    for other in others:
        enter(other, "7")
    message = say(ann, "7", "hi")
    frame = others[0].until("chat")["message"]
    assert "recipients" not in frame
    while (status := status_of(ann)).get("counts") != {"delivered": 3, "read": 0}:
        assert "recipient_id" not in status
    assert (status["message_id"], status["status"]) == (message, "delivered")


@pytest.mark.options(DELIVERY__ENABLED="false")
def test_req_2_10_an_operator_can_do_without(server):
    ann, bob = connect(server, "ann"), connect(server, "bob")
    enter(bob, "7")
    message = say(ann, "7", "hi")
    bob.until("chat")
    read = {"message_id": message, "chat_id": "7", "status": "read"}
    bob.send({"type": "message-status", "message": read})
    bob.lives()
    ann.hears_nothing()


# ---- messages that wait: 2.15 ----


def test_req_2_15_who_was_away_gets_what_was_said_meanwhile_and_authors_hear_of_it(server):
    ann = connect(server, "ann")
    rpc(ann, "room.create", chat_id="7", members=["bob"])
    messages = [say(ann, "7", content) for content in ("one", "two")]
    bob = connect(server, "bob")
    heard = [bob.until("chat")["message"] for _ in messages]
    assert [chat["message_id"] for chat in heard] == messages
    delivered = [status_of(ann) for _ in messages]
    assert [status["message_id"] for status in delivered] == messages
    assert {(status["status"], status["recipient_id"]) for status in delivered} == {("delivered", "bob")}
    bob.close()
    say(ann, "7", "three")
    bob = connect(server, "bob")
    assert bob.until("chat")["message"]["content"] == "three"
    bob.hears_nothing()


# ---- persistent rooms: 3.9, 3.10 ----

PERSISTENT = """
[[namespace]]
pattern = "lasting-*"
persist = true
[store]
path = "{folder}/store"
"""


@pytest.mark.config(PERSISTENT)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_req_3_9_what_was_acknowledged_in_a_persistent_room_outlives_the_server(server, number):
    ann = server.connect("ann")
    subscribe = {"type": "subscribe", "id": "s", "data": {"topic": "lasting-1"}}
    epoch = ann.reply(subscribe)["data"]["epoch"]
    ann.rpc("room.create", room_id="lasting-2", name="Team", metadata={"a": [1]})
    acknowledged = []
    for n in range(20):
        data = {"topic": "lasting-1", "data": n, "client_message_id": f"c{n}"}
        ack = ann.reply({"type": "publish", "id": str(n), "data": data})
        acknowledged.append(ack["data"]["message_id"])
    data = {"topic": "passing", "data": 1}
    assert ann.reply({"type": "publish", "id": "p", "data": data})["type"] == "ack"
    server.restart(number)

    ann = server.connect("ann")
    subscribe["data"]["recover"] = {"epoch": epoch, "offset": 5}
    answer = ann.reply(subscribe)["data"]
    assert (answer["recovered"], answer["replayed"], answer["offset"]) == (True, 15, 20)
    replayed = [ann.frame() for _ in range(15)]
    assert [frame["id"] for frame in replayed] == acknowledged[5:]
    assert [frame["data"]["data"] for frame in replayed] == list(range(5, 20))
    page = ann.rpc("room.history", room_id="lasting-1", limit=100)
    assert [message["id"] for message in page["messages"]] == acknowledged
    team = ann.rpc("room.get", room_id="lasting-2")
    assert (team["name"], team["metadata"], team["created_by"]) == ("Team", {"a": [1]}, "ann")
    again = {"topic": "lasting-1", "data": 19, "client_message_id": "c19"}
    ack = ann.reply({"type": "publish", "id": "again", "data": again})
    assert ack["data"]["message_id"] == acknowledged[19]
    call = {"type": "rpc", "id": "g", "data": {"method": "room.get", "params": {"room_id": "passing"}}}
    assert ann.reply(call)["data"]["code"] == "not_found"


@pytest.mark.config(PERSISTENT)
def test_req_2_15_a_member_of_a_persistent_room_stays_one_across_a_restart(server):
    ann, bob = connect(server, "ann"), connect(server, "bob")
    enter(bob, "lasting-1")
    zero = say(ann, "lasting-1", "zero")
    assert bob.until("chat")["message"]["content"] == "zero"
    assert status_of(ann)["status"] == "delivered"
    bob.close()
    messages = [say(ann, "lasting-1", content) for content in ("one", "two")]
    server.restart()
    bob = connect(server, "bob")
    heard = []
    while messages[-1] not in heard:
        heard.append(bob.until("chat")["message"]["message_id"])
    # How far a member has come is stored once a second: what it has may come again, under its name.
    assert heard[-2:] == messages
    assert heard[:-2] in ([], [zero])


def status(server, user, message_id):
    """What the HTTP API tells a user of a message; or the HTTP status of the refusal."""
    url = f"{server.origin}/api/v1/messages/{message_id}/status"
    request = urllib.request.Request(url, headers={"X-User-Id": user})
    try:
        with urllib.request.urlopen(request, timeout=SOON) as response:
            return json.load(response)
    except urllib.error.HTTPError as refusal:
        return refusal.code


@pytest.mark.config(PERSISTENT)
def test_an_author_is_told_of_a_message_after_a_restart(server):
    ann, bob = connect(server, "ann"), connect(server, "bob")
    enter(bob, "lasting-1")
    enter(ann, "lasting-1")
    first = say(ann, "lasting-1", "hi")
    bob.until("chat")
    bob.send({"type": "message-status", "message": {"message_id": first, "chat_id": "lasting-1", "status": "read"}})
    while status_of(ann)["status"] != "read":
        pass
    # An orderly end: of marks the last second may be lost with a process that is killed.
    server.restart()
    told = status(server, "ann", first)
    assert told["recipients"] == [{"recipient_id": "bob", "status": "read"}]
    assert (told["room_id"], told["sender_id"], told["status"]) == ("lasting-1", "ann", "read")
    assert status(server, "bob", first) == 403
    assert status(server, "ann", "019a1f6e-3c8b-7d3a-9a53-1f0c2a91d3b7") == 404
