"""The application of a client that knows rooms by their path, and user ids as numbers.

Numbers are those of the requirements for such clients: the room in the path (3.1), the Origin (3.2),
the user (3.3), frames (3.4), heartbeat and size (3.5), rooms on demand (3.6), to the others (3.7),
metadata (3.8), capacity and access (3.9), history, rates and content (3.10, 3.11), statuses (3.13).
"""

import json
import subprocess
import time
import tomllib

import pytest
from conftest import BINARY, SOON, payload
from test_chat import UUID_V7, is_now
from tokens import SECRET, sign
from websockets.client import ClientProtocol
from websockets.frames import Opcode
from websockets.uri import parse_uri

MESSAGE_BYTES_MAX = 32768


def error(client):
    """The payload of the next frame, an error."""
    frame = client.until("error")
    return payload(frame)


# ---- opening: 3.1, 3.2, 3.3, 3.13 ----


def test_req_3_1_the_path_names_the_room(server):
    client = server.join_room("42", "7")
    assert client.welcome["type"] == "connection-status"
    assert client.welcome["data"]["status"] == "established"
    assert client.snapshot["room_id"] == "42"
    assert client.snapshot["data"]["action"] == "snapshot"
    spaced = server.join_room("a room/é", "8")
    assert spaced.snapshot["room_id"] == "a room/é"


def test_req_3_2_a_request_for_a_room_must_have_an_allowed_origin(server):
    response, body = server.refusal("7", path="/ws/42")
    assert (response.status_code, body["code"], body["status"]) == (403, "forbidden", 403)
    response, body = server.refusal("7", path="/ws/42", origin="http://evil.example")
    assert (response.status_code, body["code"]) == (403, "forbidden")
    server.join_room("42", "7").lives()


@pytest.mark.options(ORIGIN__ALLOWED="https://app.example,https://*.example.org")
def test_req_3_2_the_allowed_origins_are_a_list(server):
    for origin in ["https://app.example", "https://a.example.org"]:
        server.join_room("42", "7", origin=origin).lives()
    for origin in ["https://example.org", "http://app.example", server.origin, "null"]:
        response, _ = server.refusal("7", path="/ws/42", origin=origin)
        assert response.status_code == 403, origin


@pytest.mark.options(AUTH__MODE="required", AUTH__JWT__SECRET=SECRET)
def test_req_3_2_and_3_3_a_token_and_an_origin_are_asked_for_before_the_upgrade(server):
    shown = {"additional_headers": {"Authorization": f"Bearer {sign(sub=7)}"}}
    assert server.join_room("42", None, **shown).user == "7"
    response, body = server.refusal(path="/ws/42", origin=server.origin)
    assert (response.status_code, body["code"]) == (401, "unauthorized")
    for origin in [None, "http://evil.example"]:
        response, body = server.refusal(path="/ws/42", origin=origin, **shown)
        assert (response.status_code, body["code"]) == (403, "forbidden")


def test_req_3_3_the_user_is_known_before_the_room_is_open(server):
    assert server.join_room("42", "7").user == "7"
    response, body = server.refusal(path="/ws/42", query={"user_id": ""}, origin=server.origin)
    assert (response.status_code, body["code"]) == (400, "invalid_user_id")


# ---- frames: 3.4, 3.7 ----


def test_req_3_4_a_frame_has_type_data_room_user_and_timestamp(server):
    seven, eight = server.join_room("42", "7"), server.join_room("42", "8")
    data = {"text": "hi", "nested": {"a": [1, 2.5, None, True, "é"]}}
    seven.send({"type": "chat", "data": data, "room_id": "42", "user_id": 7, "timestamp": "now"})
    frame = eight.until("chat")
    assert frame["data"] == data
    assert frame["room_id"] == "42"
    assert frame["user_id"] == 7
    assert is_now(frame["timestamp"])
    assert UUID_V7.fullmatch(frame["id"])
    assert frame["offset"] == 1
    assert set(frame) == {"type", "data", "room_id", "user_id", "timestamp", "id", "offset"}


@pytest.mark.parametrize(
    ("user", "written"),
    [
        ("42", 42),
        ("0", 0),
        ("9007199254740991", 9007199254740991),
        ("9007199254740992", "9007199254740992"),
        ("042", "042"),
        ("-1", "-1"),
        ("1.0", "1.0"),
        ("ann@example.org", "ann@example.org"),
    ],
)
def test_req_3_4_a_user_id_is_a_number_where_it_looks_like_one(server, user, written):
    listener, speaker = server.join_room("42", "listener"), server.join_room("42", user)
    speaker.send({"type": "chat", "data": {"text": "hi"}})
    text = listener.socket.recv(timeout=SOON)
    assert '"presence"' in text
    assert f'"user_id":{json.dumps(written)},' in text, "in the envelope of a join"
    text = listener.socket.recv(timeout=SOON)
    assert f'"user_id":{json.dumps(written)},' in text
    assert json.loads(text)["user_id"] == written


def test_req_3_4_numbers_are_taken_for_rooms_and_a_forged_user_is_not_believed(server):
    seven, eight = server.join_room("42", "7"), server.join_room("42", "8")
    seven.send({"type": "chat", "room_id": 42, "user_id": 8, "data": {"text": "hi"}})
    frame = eight.until("chat")
    assert (frame["room_id"], frame["user_id"]) == ("42", 7)


def test_req_3_4_system_messages_are_the_servers(server):
    owner, other = server.join_room("42", "7"), server.join_room("42", "8")
    owner.send({"type": "system", "id": "1", "data": {"event": "kicked"}})
    answer = owner.until("error")
    assert answer["id"] == "1"
    assert answer["data"]["code"] == "unknown_type"
    other.hears_nothing()


def test_req_3_7_others_hear_it_and_the_sender_and_other_rooms_do_not(server):
    seven, seven_too, eight = (server.join_room("42", user) for user in ("7", "7", "8"))
    elsewhere = server.join_room("43", "9")
    seven.until("presence", user_id=8)
    seven.send({"type": "chat", "data": {"text": "hi"}})
    assert seven_too.until("chat") == eight.until("chat")
    seven.hears_nothing()
    elsewhere.hears_nothing()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("plain text", "invalid_json"),
        ('{"type":"chat","data":{}}', "invalid_message"),
        ('{"type":"chat","data":{"text":1}}', "invalid_message"),
        ('{"type":"chat","data":{"text":"x"},"room_id":true}', "invalid_message"),
        ('{"type":"chat","data":{"text":"x"},"data":{"text":"y"}}', "invalid_message"),
        ('{"type":"no_such_type","data":{"text":"x"}}', "unknown_type"),
    ],
)
def test_req_3_7_what_is_not_valid_is_refused_and_relayed_to_nobody(server, text, code):
    seven, eight = server.join_room("42", "7"), server.join_room("42", "8")
    seven.send(text)
    refused = error(seven)
    assert refused["code"] == code
    assert isinstance(refused["error"], str) and refused["error"]
    seven.lives()
    eight.hears_nothing()


# ---- heartbeat and size: 3.5 ----


def test_req_3_5_the_constants_are_the_defaults():
    text = subprocess.run([BINARY, "default-config"], capture_output=True, check=True).stdout
    config = tomllib.loads(text.decode())
    heartbeat = config["heartbeat"]
    assert heartbeat["write_wait"] == "10s"
    assert heartbeat["pong_wait"] in ("60s", "1m")
    assert heartbeat["ping_period"] == "54s"
    assert config["limits"]["max_message_size"] == MESSAGE_BYTES_MAX


def test_req_3_5_the_largest_message_passes_and_one_byte_more_closes_1009(server):
    seven, eight = server.join_room("42", "7"), server.join_room("42", "8")
    frame = {"type": "chat", "data": {"text": ""}}
    longest = "x" * (MESSAGE_BYTES_MAX - len(json.dumps(frame)))
    frame["data"]["text"] = longest
    assert len(json.dumps(frame)) == MESSAGE_BYTES_MAX
    seven.send(frame)
    assert eight.until("chat")["data"]["text"] == longest
    frame["data"]["text"] += "x"
    seven.send(frame)
    assert seven.is_closed()[0] == 1009
    assert eight.until("presence", user_id=7)["data"]["action"] == "leave"


class Peer:
    """A client that decides itself whether pings are answered."""

    def __init__(self, server, path, user):
        uri = parse_uri(server.url(user, path))
        self.protocol = ClientProtocol(uri, origin=server.origin)
        self.protocol.send_request(self.protocol.connect())
        self.tcp = server.tcp()
        self.flush()

    def flush(self):
        self.tcp.sendall(b"".join(self.protocol.data_to_send()))

    def frames(self, answers_pings):
        """Frames until the server is done."""
        while piece := self.tcp.recv(65536):
            self.protocol.receive_data(piece)
            if answers_pings:
                self.flush()
            yield from (e for e in self.protocol.events_received() if hasattr(e, "opcode"))


SHORT_HEARTBEAT = {"HEARTBEAT__PING_PERIOD": "1s", "HEARTBEAT__PONG_WAIT": "2s"}


@pytest.mark.options(**SHORT_HEARTBEAT)
def test_req_3_5_silence_is_asked_for_a_pong_and_then_closed_4504(server):
    peer = Peer(server, "/ws/42", "7")
    opcodes = []
    for frame in peer.frames(answers_pings=False):
        opcodes.append(frame.opcode)
        last = frame
    assert opcodes[:3] == [Opcode.TEXT, Opcode.TEXT, Opcode.PING], "welcome, users, ping"
    assert last.opcode == Opcode.CLOSE
    assert int.from_bytes(last.data[:2], "big") == 4504


@pytest.mark.options(**SHORT_HEARTBEAT)
def test_req_3_5_who_answers_pings_stays(server):
    peer = Peer(server, "/ws/42", "7")
    pings = 0
    for frame in peer.frames(answers_pings=True):
        assert frame.opcode != Opcode.CLOSE
        pings += frame.opcode == Opcode.PING
        if pings == 4:
            return
    pytest.fail(f"closed after {pings} pings")


# ---- rooms: 3.6, 3.8, 3.9 ----


def test_req_3_6_joins_and_leaves_are_told_and_participants_can_be_queried(server):
    seven = server.join_room("42", "7")
    assert [user["user_id"] for user in seven.snapshot["data"]["users"]] == ["7"]
    eight = server.join_room("42", "8")
    joined = seven.frame()
    assert (joined["type"], joined["room_id"], joined["user_id"]) == ("presence", "42", 8)
    assert (joined["data"]["action"], joined["data"]["count"]) == ("join", 2)
    members = seven.rpc("room.members", room_id="42")
    assert members["count"] == 2
    assert [member["user_id"] for member in members["members"]] == ["7", "8"]
    eight.close()
    left = seven.frame()
    assert (left["data"]["action"], left["data"]["count"], left["user_id"]) == ("leave", 1, 8)
    assert seven.rpc("room.members", room_id=42)["count"] == 1


@pytest.mark.config('[[namespace]]\npattern = "*"\ncleanup_after = "1s"\n')
def test_req_3_6_rooms_are_made_on_demand_and_empty_ones_cleaned_up(server):
    watcher = server.connect("watcher")
    call = {"type": "rpc", "id": "get", "data": {"method": "room.get", "params": {"room_id": "42"}}}
    assert watcher.reply(call)["data"]["code"] == "not_found"
    seven = server.join_room("42", "7")
    seven.send({"type": "chat", "data": {"text": "hi"}})
    seven.lives()
    assert watcher.rpc("room.get", room_id="42")["members"] == 1
    seven.close()
    deadline = time.monotonic() + SOON
    while (answer := watcher.reply(call))["type"] == "rpc":
        assert time.monotonic() < deadline, "still there"
        time.sleep(0.1)
    assert answer["data"]["code"] == "not_found"
    seven = server.join_room("42", "7")
    assert seven.rpc("room.history", room_id="42")["messages"] == []


def test_req_3_8_a_room_has_metadata(server):
    owner, other = server.connect("7"), server.connect("8")
    metadata = {"topic": "bells", "tags": ["a", 1]}
    made = owner.rpc("room.create", id="42", name="Team", max_clients=5, metadata=metadata)
    assert is_now(made.pop("created_at"))
    expected = {"id": "42", "name": "Team", "created_by": "7", "max_clients": 5}
    assert made == expected | {"is_private": False, "metadata": metadata, "members": 0}
    found = other.rpc("room.get", room_id=42)
    assert is_now(found.pop("created_at"))
    assert found == made
    call = {"type": "rpc", "id": "1", "data": {"method": "room.update", "params": {"room_id": "42"}}}
    call["data"]["params"]["name"] = "Bells"
    assert other.reply(call)["data"]["code"] == "forbidden"
    assert owner.reply(call)["data"]["result"]["name"] == "Bells"
    again = {"type": "rpc", "id": "2", "data": {"method": "room.create", "params": {"id": "42"}}}
    assert other.reply(again)["data"]["code"] == "already_exists"


def turned_away(server, user, status, code):
    """A request for the room 42 is refused before the upgrade."""
    response, body = server.refusal(user, path="/ws/42", origin=server.origin)
    assert (response.status_code, body["status"], body["code"]) == (status, status, code)
    assert response.headers["Content-Type"] == "application/json"
    assert body["error"] and body["request_id"] and is_now(body["timestamp"])


def test_req_3_9_a_full_room_refuses_with_409_until_somebody_leaves(server):
    owner = server.connect("7")
    owner.rpc("room.create", room_id="42", max_clients=2)
    eight, _nine = server.join_room("42", "8"), server.join_room("42", "9")
    server.join_room("42", "8").lives()  # a second tab takes no place
    turned_away(server, "10", 409, "room_full")
    subscribe = {"type": "subscribe", "id": "1", "data": {"topic": "42"}}
    assert owner.reply(subscribe)["data"]["code"] == "room_full"
    owner.send({"type": "rpc", "data": {"method": "room.kick", "params": {"room_id": "42", "user_id": 8}}})
    assert eight.is_closed()[0] == 4403
    assert owner.reply(subscribe)["type"] == "subscribed"


@pytest.mark.options(SERVER__SHARDS=4)
def test_req_3_9_of_many_at_once_one_has_the_last_place(server):
    """The others are refused before the upgrade, or closed with 4413 if they found it taken behind it."""
    server.connect("7").rpc("room.create", room_id="42", max_clients=1)
    head = (
        f"GET /ws/42?user_id={{user}} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: {server.origin}\r\n"
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    peers = [server.tcp() for _ in range(40)]
    for user, peer in enumerate(peers):
        peer.sendall(head.format(user=user).encode())
    outcomes = []
    for peer in peers:
        heard = b""
        while b'"action":"snapshot"' not in heard and (more := peer.recv(65536)):
            heard += more
        status = int(heard.split(b" ", 2)[1])
        is_in = b'"action":"snapshot"' in heard
        closed = int.from_bytes(heard[heard.rindex(b"\x88") + 2 :][:2]) if status == 101 and not is_in else None
        outcomes.append((status, is_in, closed))
    assert outcomes.count((101, True, None)) == 1, outcomes
    assert set(outcomes) <= {(101, True, None), (409, False, None), (101, False, 4413)}, outcomes


def test_req_3_9_a_private_room_lets_in_whom_its_list_names(server):
    owner = server.connect("7")
    owner.rpc("room.create", room_id="42", is_private=True, members=["8"])
    server.join_room("42", "8").lives()
    turned_away(server, "9", 403, "forbidden")
    owner.rpc("room.add_member", room_id="42", user_id=9)
    server.join_room("42", "9").lives()


@pytest.mark.config('[[namespace]]\npattern = "*"\ncreate = "api_only"\n')
def test_req_3_9_rooms_can_be_made_by_request_alone(server):
    turned_away(server, "7", 404, "not_found")
    server.connect("7").rpc("room.create", room_id="42")
    server.join_room("42", "7").lives()


@pytest.mark.config('[[namespace]]\npattern = "*"\npersist = true\ncreate = "api_only"\n[store]\npath = "{folder}/data"\n')
def test_req_3_9_a_room_that_is_not_in_memory_yet_refuses_nobody_for_that(server):
    making = {"room_id": "42", "is_private": True, "members": ["8"]}
    server.connect("7").rpc("room.create", **making)
    server.restart()
    server.join_room("42", "8").lives()
    server.restart()
    turned_away(server, "9", 403, "forbidden")


# ---- history, rates, content: 3.10, 3.11 ----


def test_req_3_10_the_history_of_a_room_comes_in_pages(server):
    seven = server.join_room("42", "7")
    for number in range(5):
        seven.send({"type": "chat", "data": {"text": str(number)}})
    newest = seven.rpc("room.history", room_id="42", limit=2)
    assert [message["data"]["text"] for message in newest["messages"]] == ["3", "4"]
    cursor = newest["next_cursor"]
    older = seven.rpc("room.history", room_id="42", limit=10, cursor=cursor)
    assert [message["data"]["text"] for message in older["messages"]] == ["0", "1", "2"]
    assert older["next_cursor"] is None


@pytest.mark.options(LIMITS__MESSAGES_PER_SECOND=1, LIMITS__BURST=3)
def test_req_3_10_who_sends_too_much_is_told_when_to_go_on_and_closed_if_it_insists(server):
    seven, eight = server.join_room("42", "7"), server.join_room("42", "8")
    for number in range(30):
        seven.send({"type": "chat", "data": {"text": str(number)}})
    refused = error(seven)
    assert refused["code"] == "rate_limited"
    assert refused["retry_after_ms"] > 0
    assert seven.is_closed()[0] == 4529
    heard = []
    while (frame := eight.frame())["type"] == "chat":
        heard.append(frame["data"]["text"])
    assert heard[:3] == ["0", "1", "2"]
    assert len(heard) < 30 - 20


@pytest.mark.config(
    '[[namespace]]\npattern = "*"\nmax_content_chars = 5\ncontrol_characters = "reject"\n'
)
def test_req_3_10_the_text_of_a_chat_is_held_to_rules(server):
    seven, eight = server.join_room("42", "7"), server.join_room("42", "8")
    for text in ["123456", "a\x07b"]:
        seven.send({"type": "chat", "data": {"text": text}})
        assert error(seven)["code"] == "invalid_message"
    seven.send({"type": "chat", "data": {"text": "\n東京🔔é"}})
    assert eight.until("chat")["data"]["text"] == "\n東京🔔é"


@pytest.mark.options(LIMITS__MAX_ROOMS_PER_CONNECTION=2)
def test_req_3_11_a_connection_is_in_so_many_rooms_and_no_more(server):
    seven = server.join_room("42", "7")
    codes = []
    for room in ["43", "44"]:
        answer = seven.reply({"type": "subscribe", "id": room, "data": {"topic": room}})
        codes.append((answer["type"], answer["data"].get("code")))
    assert codes == [("subscribed", None), ("error", "conflict")]
