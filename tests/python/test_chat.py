"""The application of a client that knows users, a lobby and flat frames.

Numbers are those of the requirements for such clients: a welcome and the user list on open (4.2),
flat frames (4.3), plain text (4.4), chat, typing and ping (4.5), several connections of one user
(4.7), echo (4.8), to all and to others (4.10), leave with the last connection (4.11), and a
connection that outlives its errors (4.12).
"""

import re
import time
from datetime import UTC, datetime

import pytest

UUID_V7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def is_now(timestamp):
    """RFC 3339, UTC, milliseconds, and not far from our own clock."""
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", timestamp), timestamp
    away = datetime.now(UTC) - datetime.fromisoformat(timestamp)
    return abs(away.total_seconds()) < 60


# ---- opening: 4.2 ----


def test_the_first_frame_is_the_welcome(server):
    welcome = server.join("ann").welcome
    assert welcome["type"] == "connection-status"
    assert welcome["status"] == "established"
    assert welcome["user_id"] == "ann"
    assert welcome["connection_id"]
    assert is_now(welcome["timestamp"])


def test_the_second_frame_lists_the_users_newcomer_included(server):
    server.join("ann")
    server.join("ann")
    snapshot = server.join("bob").snapshot
    assert snapshot["type"] == "presence"
    assert snapshot["action"] == "snapshot"
    assert snapshot["room_id"] == "lobby"
    assert snapshot["count"] == 2
    connections = {user["user_id"]: user["connections"] for user in snapshot["users"]}
    assert connections == {"ann": 2, "bob": 1}
    assert all(is_now(user["since"]) for user in snapshot["users"])


@pytest.mark.options(AUTH__MODE="optional")
def test_without_trust_everybody_is_a_guest_with_an_identifier_of_its_own(server):
    first, second = server.join("ann"), server.join("ann")
    assert first.user.startswith("guest-")
    assert second.user.startswith("guest-")
    assert first.user != second.user


def test_connections_have_different_identifiers(server):
    clients = [server.join("ann") for _ in range(5)]
    assert len({client.welcome["connection_id"] for client in clients}) == 5


@pytest.mark.parametrize("user", ["ann@example.org", "Zoë 東京", "a/b?c#d&e=f", '"<b>\\'])
def test_user_identifiers_are_strings_of_any_kind(server, user):
    listener, speaker = server.join_all("listener", user)
    assert speaker.user == user
    speaker.send({"type": "chat", "content": "hi"})
    assert listener.until("chat")["user_id"] == user


# ---- presence: 4.7, 4.11 ----


def test_the_first_connection_of_a_user_is_announced_and_the_second_is_not(server):
    ann = server.join("ann")
    server.join("bob")
    joined = ann.frame()
    assert (joined["type"], joined["action"], joined["user_id"]) == ("presence", "join", "bob")
    assert joined["count"] == 2
    assert joined["user"]["user_id"] == "bob"
    assert joined["room_id"] == "lobby"
    server.join("bob")
    ann.hears_nothing()


def test_the_last_connection_of_a_user_is_announced_and_the_first_to_close_is_not(server):
    ann, bob = server.join_all("ann", "bob")
    bob_again = server.join("bob")
    bob.close()
    ann.hears_nothing()
    bob_again.close()
    left = ann.frame()
    assert (left["type"], left["action"], left["user_id"]) == ("presence", "leave", "bob")
    assert left["count"] == 1


def test_a_user_whose_connection_is_torn_has_left(server):
    ann, bob = server.join_all("ann", "bob")
    bob.socket.socket.shutdown(2)
    ann.until("presence", action="leave", user_id="bob")


def test_leave_comes_after_the_last_words(server):
    ann, bob = server.join_all("ann", "bob")
    for word in range(20):
        bob.send({"type": "chat", "content": f"word {word}"})
    bob.close()
    heard = [ann.frame() for _ in range(21)]
    assert [frame.get("content") for frame in heard[:20]] == [f"word {word}" for word in range(20)]
    assert heard[20]["action"] == "leave"


def test_a_user_who_comes_back_is_announced_again(server):
    ann = server.join("ann")
    for _ in range(3):
        bob = server.join("bob")
        ann.until("presence", action="join", user_id="bob", count=2)
        bob.close()
        ann.until("presence", action="leave", user_id="bob", count=1)


# ---- chat: 4.3, 4.4, 4.8, 4.10 ----


def test_a_chat_reaches_the_others_with_author_room_identifier_and_time(server):
    ann, bob, clara = server.join_all("ann", "bob", "clara")
    ann.send({"type": "chat", "content": "Grüß Gott, 東京 🔔"})
    chat = bob.until("chat")
    assert chat == clara.until("chat"), "all hear the same"
    assert chat["content"] == "Grüß Gott, 東京 🔔"
    assert chat["user_id"] == "ann"
    assert chat["room_id"] == "lobby"
    assert UUID_V7.fullmatch(chat["id"])
    assert is_now(chat["timestamp"])


def test_plain_text_is_a_chat(server):
    ann, bob = server.join_all("ann", "bob")
    for text in ["hello", "  two words ", "42", '"quoted"', "line\nline", "null", "𝄞 \x00"]:
        ann.send(text)
        chat = bob.until("chat")
        assert chat["content"] == text
        assert chat["user_id"] == "ann"


def test_a_sender_does_not_hear_itself_but_its_other_connections_do(server):
    ann, ann_again = server.join("ann"), server.join("ann")
    ann.send({"type": "chat", "content": "to the others"})
    assert ann_again.until("chat")["content"] == "to the others"
    ann.hears_nothing()


@pytest.mark.options(MESSAGING__ECHO_TO_SENDER="true")
def test_with_echo_a_sender_hears_itself(server):
    ann, bob = server.join_all("ann", "bob")
    ann.send({"type": "chat", "content": "to all"})
    assert ann.until("chat") == bob.until("chat")


def test_what_the_server_writes_is_not_taken_from_the_client(server):
    ann, bob = server.join_all("ann", "bob")
    ann.send({"type": "chat", "content": "x", "user_id": "bob", "timestamp": "1970", "id": "mine"})
    chat = bob.until("chat")
    assert chat["user_id"] == "ann"
    assert is_now(chat["timestamp"])
    assert UUID_V7.fullmatch(chat["id"])


def test_other_members_of_a_chat_are_passed_on(server):
    ann, bob = server.join_all("ann", "bob")
    extra = {"client_message_id": "c1", "mood": {"calm": [1, 2.5, None, True, "é"]}}
    ann.send({"type": "chat", "content": "x"} | extra)
    assert extra.items() <= bob.until("chat").items()


@pytest.mark.options(LIMITS__MESSAGES_PER_SECOND=0)
def test_messages_of_one_sender_keep_their_order(server):
    ann, bob = server.join_all("ann", "bob")
    for number in range(500):
        ann.send({"type": "chat", "content": str(number)})
    heard = [bob.until("chat") for _ in range(500)]
    assert [chat["content"] for chat in heard] == [str(number) for number in range(500)]
    assert len({chat["id"] for chat in heard}) == 500


def test_two_listeners_hear_two_speakers_in_the_same_order(server):
    ann, bob, *listeners = server.join_all("ann", "bob", "clara", "dora")
    for number in range(100):
        ann.send(f"ann {number}")
        bob.send(f"bob {number}")
    heard = [[listener.until("chat")["id"] for _ in range(200)] for listener in listeners]
    assert heard[0] == heard[1]


# ---- typing: 4.5 ----


def test_typing_is_shown_to_the_others_and_taken_back(server):
    ann, bob = server.join_all("ann", "bob")
    ann.send({"type": "typing", "is_typing": True})
    typing = bob.until("typing")
    assert typing["user_id"] == "ann"
    assert typing["room_id"] == "lobby"
    assert typing["is_typing"] is True
    time.sleep(1.1)
    ann.send({"type": "typing", "is_typing": False})
    assert bob.until("typing")["is_typing"] is False
    ann.hears_nothing()


def test_typing_that_says_neither_yes_nor_no_is_invalid(server):
    ann = server.join("ann")
    for message in [{"type": "typing"}, {"type": "typing", "is_typing": "perhaps"}]:
        assert ann.answer(message)["code"] == "invalid_message"
    ann.lives()


# ---- ping: 4.5 ----


@pytest.mark.parametrize("identifier", ["8", "a \" \\ é", 8])
@pytest.mark.parametrize(("asked", "answered"), [("ping", "pong"), ("heartbeat", "heartbeat")])
def test_ping_and_heartbeat_are_answered_with_their_id(server, asked, answered, identifier):
    answer = server.join("ann").answer({"type": asked, "id": identifier})
    assert answer["type"] == answered
    assert answer["id"] == identifier
    assert is_now(answer["timestamp"])


def test_a_ping_without_id_is_answered_without_one(server):
    answer = server.join("ann").answer({"type": "ping"})
    assert answer["type"] == "pong"
    assert "id" not in answer


def test_a_ping_frame_is_answered_with_its_payload(server):
    assert server.join("ann").socket.ping(b"RFC 6455").wait(10)


# ---- errors: 4.12 ----


def is_error(frame, code):
    assert frame["type"] == "error", frame
    assert frame["code"] == code
    assert isinstance(frame["error"], str) and frame["error"]
    assert is_now(frame["timestamp"])
    return True


def test_an_unknown_type_is_an_error_by_id_and_nobody_else_hears_of_it(server):
    ann, bob = server.join_all("ann", "bob")
    answer = ann.answer({"type": "no-such-thing", "id": "7", "content": "x"})
    assert is_error(answer, "unknown_type")
    assert answer["id"] == "7"
    ann.lives()
    bob.hears_nothing()


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}}",
        '{"type":"chat","content":"x"',
        "{'type':'chat'}",
        '{"type":"chat","content":"x",}',
        '{"type":"chat","content":"\n"}',
        '{"type":"chat","content":"\\ud800"}',
        '{"type":"chat","content":"x"} trailing',
        '{"type":"chat","content":01}',
        "[1,2",
        "{" * 5000,
        "[" * 30000,
    ],
    ids=lambda text: text[:24],
)
def test_what_begins_like_json_and_is_none_is_invalid_json(server, text):
    ann, bob = server.join_all("ann", "bob")
    assert is_error(ann.answer(text), "invalid_json")
    ann.lives()
    bob.hears_nothing()


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        "[1]",
        '{"content":"x"}',
        '{"type":1}',
        '{"type":""}',
        '{"type":"chat"}',
        '{"type":"chat","content":1}',
        '{"type":"chat","content":null}',
        '{"type":"chat","content":""}',
        '{"type":"chat","type":"chat","content":"x"}',
    ],
)
def test_json_that_is_no_message_is_invalid(server, text):
    ann, bob = server.join_all("ann", "bob")
    assert is_error(ann.answer(text), "invalid_message")
    ann.lives()
    bob.hears_nothing()


def test_a_batch_is_handled_message_by_message(server):
    ann, bob = server.join_all("ann", "bob")
    ann.send('[{"type":"chat","content":"one"},{"type":"nope"},{"type":"chat","content":"two"}]')
    assert [bob.until("chat")["content"] for _ in range(2)] == ["one", "two"]
    assert is_error(ann.until("error"), "unknown_type")


# ---- to everybody, and by role: 4.10, 4.13 ----

ANNOUNCEMENT = {"type": "announcement", "message": "Server maintenance in 5 minutes"}


def test_req_4_10_an_admin_tells_everybody_whatever_their_rooms_and_profiles(server):
    admin = server.join("root", query={"roles": "admin"})
    ann = server.join("ann")
    others = [server.connect("bob", path="/v1/connect"), server.connect("clara", path="/api/v1/ws")]
    admin.send(ANNOUNCEMENT)
    for client in (admin, ann):
        assert ANNOUNCEMENT.items() <= client.until("announcement").items()
    places = [other.until("announcement")[place] for other, place in zip(others, ["data", "message"])]
    assert [place["message"] for place in places] == [ANNOUNCEMENT["message"]] * 2


def test_req_4_13_nobody_else_may(server):
    ann, bob = server.join("ann", query={"roles": "editor"}), server.join("bob")
    assert is_error(ann.answer(ANNOUNCEMENT | {"roles": ["admin"]}), "forbidden")
    bob.hears_nothing()


@pytest.mark.options(MESSAGING__BROADCAST="role:editor")
def test_req_4_13_the_role_is_chosen_by_the_operator(server):
    editor, admin = (server.join(role, query={"roles": role}) for role in ("editor", "admin"))
    assert is_error(admin.answer(ANNOUNCEMENT), "forbidden")
    editor.send(ANNOUNCEMENT)
    assert admin.until("announcement")["message"] == ANNOUNCEMENT["message"]


@pytest.mark.options(AUTH__MODE="optional", MESSAGING__BROADCAST="role:admin")
def test_req_4_13_a_guest_that_calls_itself_admin_is_not(server):
    guest = server.join("root", query={"roles": "admin"})
    assert is_error(guest.answer(ANNOUNCEMENT), "forbidden")
