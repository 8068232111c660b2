"""Whose a connection is and for how long: the modes, the first message, the end of a token and what comes
before it, revocation."""

import json
import signal
import sqlite3
import time
import urllib.error
import urllib.request
from contextlib import closing, suppress

import pytest
from conftest import SOON, Client, payload
from test_auth import cookie, in_time, lets_in, presented, refused
from tokens import forge, options, sign, times
from websockets.exceptions import ConnectionClosed

#: Tokens end to the second: clocks of one machine agree.
EXACT = {"AUTH__JWT__LEEWAY": "0s"}
FIRST = {"AUTH__MODE": "first_message", "AUTH__TIMEOUT": "2s"} | options("HS256")
OTHER_SECRET = "another secret of 32 bytes: ok!!"
KEY = "a key of the operator's"
OPERATED = f'[[api.key]]\nname = "operator"\nkey = "{KEY}"\nscopes = ["admin"]\n'


def shows(token):
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


# ---- first_message: 1.5 ----


class Stranger:
    """A connection that has its 101 and no user."""

    def __init__(self, server, **arguments):
        self.socket = server.open(path="/v1/connect", **arguments)

    def says(self, frame):
        self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def hears(self):
        return json.loads(self.socket.recv(timeout=SOON))

    def shows(self, token):
        """The token, and the client that the connection becomes."""
        self.says({"type": "authentication", "token": token})
        return Client(self.socket, in_room=False)

    is_closed = Client.is_closed


def test_who_says_nothing_in_time_is_closed_with_4408(start):
    server = start(FIRST)
    stranger = Stranger(server)
    with pytest.raises(TimeoutError):
        stranger.socket.recv(timeout=0.5)
    error = stranger.hears()
    assert (error["type"], error["data"]["code"]) == ("error", "timeout")
    assert stranger.is_closed()[0] == 4408
    # Talk does not put it off.
    stranger = Stranger(server)
    codes = []
    with suppress(ConnectionClosed):
        while True:
            stranger.says({"type": "ping", "id": "1"})
            codes.append(stranger.hears()["data"]["code"])
            time.sleep(0.3)
    assert set(codes) - {"timeout"} == {"unauthorized"}
    assert stranger.is_closed()[0] == 4408


@pytest.mark.parametrize("config", ['[[namespace]]\npattern = "*"\ncreate = "api_only"\n'])
def test_whoever_the_first_message_names_is_closed_if_the_room_of_the_path_is_not_for_them(start, config):
    server = start(FIRST, config)
    path = {"path": "/ws/42", "origin": server.origin}
    # Known before the upgrade: refused before it.
    response, body = server.refusal(**path, **shows(sign()))
    assert (response.status_code, body["code"]) == (404, "not_found")
    socket = server.open(**path)
    socket.send(json.dumps({"type": "authentication", "token": sign()}))
    client = Client(socket, in_room=False)
    assert payload(client.until("error"))["code"] == "not_found"
    assert client.is_closed()[0] == 4404


def test_before_its_token_a_connection_hears_errors_and_nothing_else(start):
    server = start(FIRST)
    ann = lets_in(server, presented(server, "header", sign()))
    stranger = Stranger(server)
    for frame, code in [
        ({"type": "ping", "id": "1"}, "unauthorized"),
        ({"type": "subscribe", "id": "1", "data": {"topic": "kitchen"}}, "unauthorized"),
        ({"type": "chat", "id": "1", "room_id": "kitchen", "data": {"text": "hi"}}, "unauthorized"),
        ([{"type": "ping"}], "unauthorized"),
        (b"binary", "unauthorized"),
        ({"type": "authentication", "id": "1"}, "invalid_message"),
        ({"type": "authentication", "id": "1", "token": 7}, "invalid_message"),
        ("{", "invalid_json"),
    ]:
        stranger.says(json.dumps(frame) if isinstance(frame, list) else frame)
        error = stranger.hears()
        assert (error["type"], error["data"]["code"]) == ("error", code), frame
        if isinstance(frame, dict):
            assert error["id"] == "1"
    # Nobody hears of it, and it hears of nobody.
    ann.rpc("room.create", room_id="kitchen", name="Kitchen")
    ann.send({"type": "chat", "room_id": "kitchen", "data": {"text": "hello"}})
    client = stranger.shows(sign(sub="bob"))
    assert client.user == "bob"
    assert client.welcome["data"]["status"] == "established"
    client.lives()


def test_too_much_before_a_token_is_closed(start):
    server = start(FIRST)
    stranger = Stranger(server)
    with suppress(ConnectionClosed):
        for _ in range(40):
            stranger.says({"type": "ping"})
    assert stranger.is_closed()[0] == 4400


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (lambda: sign(key=OTHER_SECRET), "unauthorized"),
        (lambda: forge({"alg": "none"}), "unauthorized"),
        (lambda: sign(**times(lasts=-60, ago=600)), "token_expired"),
        (lambda: sign(nbf=int(time.time()) + 600), "unauthorized"),
        (lambda: "a.jwt.token", "unauthorized"),
        (lambda: "x" * 8193, "unauthorized"),
        (lambda: "", "unauthorized"),
    ],
)
def test_a_wrong_token_is_closed_with_4401(start, token, code):
    server = start(FIRST)
    stranger = Stranger(server)
    stranger.says({"type": "authentication", "id": "1", "data": {"token": token()}})
    error = stranger.hears()
    assert (error["type"], error["data"]["code"]) == ("error", code)
    assert stranger.is_closed()[0] == 4401


def test_a_request_with_a_token_need_not_say_it_again(start):
    server = start(FIRST)
    lets_in(server, presented(server, "pair", sign()))
    refused(server, presented(server, "pair", sign(key=OTHER_SECRET)))


def test_limits_of_a_user_hold_wherever_its_connections_are_accepted(start):
    server = start(FIRST | {"SERVER__SHARDS": 4, "LIMITS__MAX_CONNECTIONS_PER_USER": 3})
    clients = [Stranger(server).shows(sign()) for _ in range(3)]
    for _ in range(8):
        stranger = Stranger(server)
        stranger.says({"type": "authentication", "token": sign()})
        error = stranger.hears()
        assert error["type"] == "error", error
        assert stranger.is_closed()[0] == 4429
    lets_in(server, presented(server, "header", sign(sub="bob")), user="bob")
    for client in clients:
        client.lives()


def test_messages_behind_the_token_are_handled_after_it(start):
    server = start(FIRST | {"SERVER__SHARDS": 4})
    for number in range(8):
        stranger = Stranger(server)
        stranger.says({"type": "authentication", "token": sign(sub=f"user {number}")})
        for ping in range(5):
            stranger.says({"type": "ping", "id": str(ping)})
        client = Client(stranger.socket, in_room=False)
        assert client.user == f"user {number}"
        assert [client.frame()["id"] for _ in range(5)] == ["0", "1", "2", "3", "4"]


def test_the_first_message_may_be_compressed(start):
    server = start(FIRST)
    stranger = Stranger(server)
    assert stranger.socket.protocol.extensions, "compression was agreed on"
    stranger.says({"type": "ping", "data": {"text": "1" * 2000}})
    assert stranger.hears()["data"]["code"] == "unauthorized"
    client = stranger.shows(sign(sub="bob"))
    assert client.user == "bob"
    client.lives()


# ---- optional, trust ----


def test_who_shows_nothing_is_a_guest_who_cannot_become_somebody(start):
    server = start({"AUTH__MODE": "optional"} | options("HS256"))
    guest = server.connect()
    assert guest.user.startswith("guest-")
    error = guest.reply({"type": "authentication", "id": "1", "token": sign()})
    assert error["data"]["code"] == "conflict"
    guest.lives()
    lets_in(server, presented(server, "pair", sign()))
    refused(server, presented(server, "pair", sign(key=OTHER_SECRET)))
    refused(server, presented(server, "header", "a.jwt.token"))
    # What it says of itself is not believed.
    assert server.connect("root").user.startswith("guest-")


def is_admin(client):
    client.send({"type": "announcement", "id": "1", "data": {"message": "noon"}})
    return client.frame()["type"] == "announcement"


@pytest.mark.options(AUTH__MODE="trust")
def test_a_request_is_believed_in_trust_mode(server):
    assert server.connect("ann").user == "ann"
    assert server.connect(query={"player_id": "bob"}).user == "bob"
    assert server.connect(additional_headers={"X-User-Id": "cid"}).user == "cid"
    assert is_admin(server.connect("ann", query={"roles": "admin"}))
    assert is_admin(server.connect("ann", additional_headers={"X-User-Roles": "editor,admin"}))
    assert not is_admin(server.connect("ann"))
    # A guest has the roles of its request, too.
    guest = server.connect(query={"roles": "admin"})
    assert guest.user.startswith("guest-") and is_admin(guest)
    assert not is_admin(server.connect())
    assert server.refusal(query={"roles": "x" * 65}, path="/v1/connect")[1]["code"] == "invalid_roles"
    # Tokens are not looked at, and say nothing.
    assert server.connect(**shows("a.jwt.token")).user.startswith("guest-")


# ---- a token ends: 4.13 ----


def of_status(client, status):
    while True:
        frame = client.until("authentication")
        if payload(frame)["status"] == status:
            return frame


def test_a_client_is_told_that_its_token_ends_and_closed_after_the_grace(start):
    server = start(
        {"AUTH__MODE": "required", "AUTH__EXPIRY_NOTICE": "2s", "AUTH__EXPIRY_GRACE": "2s"} | EXACT | options("HS256")
    )
    claims = times(lasts=3)
    client = lets_in(server, shows(sign(**claims)))
    told = payload(of_status(client, "expiring"))
    assert told["expires_at"] == time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(claims["exp"]))
    # In the grace it is served as before.
    while time.time() < claims["exp"] + 0.3:
        time.sleep(0.05)
    client.lives()
    refused(server, shows(sign(**claims | {"jti": "again"})), code="token_expired")
    assert client.until("error")["data"]["code"] == "token_expired"
    assert client.is_closed()[0] == 4401
    assert time.time() >= claims["exp"] + 2


def test_a_new_token_in_band_takes_the_place_of_the_old_one(start):
    server = start(
        {"AUTH__MODE": "required", "AUTH__EXPIRY_NOTICE": "1s", "AUTH__EXPIRY_GRACE": "1s"} | EXACT | options("HS256")
    )
    client = lets_in(server, shows(sign(**times(lasts=3))))
    of_status(client, "expiring")
    later = times(lasts=6)
    answer = client.reply({"type": "authentication", "id": "1", "data": {"token": sign(roles=["admin"], **later)}})
    expires_at = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(later["exp"]))
    assert answer["data"] == {"status": "ok", "user_id": "ann", "expires_at": expires_at}
    assert is_admin(client), "the new token's roles"
    # Told again, of the new end.
    assert payload(of_status(client, "expiring"))["expires_at"] == expires_at
    assert client.until("error")["data"]["code"] == "token_expired"
    assert client.is_closed()[0] == 4401
    assert time.time() >= later["exp"] + 1


def test_a_token_of_somebody_else_is_forbidden_and_a_bad_one_ends_it(start):
    server = start({"AUTH__MODE": "required"} | options("HS256"))
    client = lets_in(server, shows(sign()))
    answer = client.reply({"type": "authentication", "id": "1", "token": sign(sub="bob")})
    assert answer["data"]["code"] == "forbidden"
    client.lives()
    error = client.reply({"type": "authentication", "id": "2", "token": sign(key=OTHER_SECRET)})
    assert error["data"]["code"] == "unauthorized"
    assert client.is_closed()[0] == 4401


# ---- revocation ----


def revoke(server, user, what=None, patience=SOON):
    body = json.dumps(what).encode() if what else b""
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    url = f"{server.origin}/api/v1/users/{user}/revoke"
    request = urllib.request.Request(url, body, headers, method="POST")
    with urllib.request.urlopen(request, timeout=patience) as response:
        return json.load(response)


@pytest.mark.parametrize("shards", [1, 4])
def test_a_revoked_user_is_closed_and_kept_out(start, shards):
    server = start({"AUTH__MODE": "required", "SERVER__SHARDS": shards} | options("HS256"), config=OPERATED)
    token = sign(**times(ago=5))
    clients = [lets_in(server, shows(token)) for _ in range(3)]
    bob = lets_in(server, shows(sign(sub="bob", **times(ago=5))), user="bob")
    assert revoke(server, "ann")["user_id"] == "ann"
    for client in clients:
        # Shards look once a second.
        assert client.until("error")["data"]["code"] == "unauthorized"
        assert client.is_closed()[0] == 4401
    bob.lives()
    refused(server, shows(token))
    refused(server, shows(sign(iat=None)))
    # What is issued afterwards opens: in the next second, since `iat` has no parts of one.
    in_time(lambda: lets_in(server, shows(sign()))).lives()


def test_one_token_can_be_revoked_by_its_id(start):
    server = start({"AUTH__MODE": "required"} | options("HS256"), config=OPERATED)
    lost, kept = sign(jti="lost"), sign(jti="kept")
    client, other = lets_in(server, shows(lost)), lets_in(server, shows(kept))
    revoke(server, "ann", {"token_id": "lost"})
    assert client.until("error")["data"]["code"] == "unauthorized"
    assert client.is_closed()[0] == 4401
    refused(server, shows(lost))
    other.lives()
    # Neither can it be brought back in band.
    error = other.reply({"type": "authentication", "id": "1", "token": lost})
    assert error["data"]["code"] == "unauthorized"
    assert other.is_closed()[0] == 4401


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_revoked_stays_so_over_a_restart(start, number):
    server = start({"AUTH__MODE": "required"} | options("HS256"), config=OPERATED)
    lost, old, bobs = sign(jti="lost"), sign(**times(ago=5)), sign(sub="bob", **times(ago=5))
    revoke(server, "ann", {"token_id": "lost"})
    revoke(server, "ann", {"issued_before": int(time.time()) - 2})
    for _ in range(2):
        refused(server, shows(lost))
        refused(server, shows(old))
        lets_in(server, shows(bobs), user="bob").close()
        lets_in(server, shows(sign())).close()
        # Answered is kept: nothing is said on the way out.
        server.restart(number)
    # What was said before and after is one.
    revoke(server, "ann", {"issued_before": 1})
    server.restart(number)
    refused(server, shows(old))


def test_without_a_store_a_restart_forgets_revocations(start):
    server = start({"AUTH__MODE": "required", "STORE__PATH": ""} | options("HS256"), config=OPERATED)
    token = sign(jti="lost")
    revoke(server, "ann", {"token_id": "lost"})
    refused(server, shows(token))
    server.restart()
    lets_in(server, shows(token)).close()


def test_a_revocation_that_cannot_be_kept_is_in_force_and_not_answered_as_done(start):
    server = start({"AUTH__MODE": "required"} | options("HS256"), config=OPERATED)
    token = sign(jti="lost")
    lets_in(server, shows(token)).close()
    database = next(server.log.parent.rglob("campanile.sqlite3"))
    with closing(sqlite3.connect(database)) as other:
        # As long as another process writes, this one waits, and gives up after a while.
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            revoke(server, "ann", {"token_id": "lost"}, patience=4 * SOON)
        assert refusal.value.code in (503, 504)
        refused(server, shows(token))
    assert revoke(server, "ann", {"token_id": "lost"})["token_id"] == "lost"
    server.restart(signal.SIGKILL)
    refused(server, shows(token))


def test_a_revoked_user_is_closed_in_trust_mode(start):
    server = start({"AUTH__MODE": "trust", "SERVER__SHARDS": 2}, config=OPERATED)
    clients, bob = [server.connect("ann") for _ in range(3)], server.connect("bob")
    revoke(server, "ann", {"issued_before": int(time.time()) + 1})
    for client in clients:
        assert client.until("error")["data"]["code"] == "unauthorized"
        assert client.is_closed()[0] == 4401
    bob.lives()
    # It shows nothing that could be withheld: who comes again is believed, but before a time that is set.
    in_time(lambda: server.connect("ann")).close()
    revoke(server, "ann", {"issued_before": int(time.time()) + 600})
    refused(server, {"user": "ann"})
    server.restart(signal.SIGKILL)
    refused(server, {"user": "ann"})
    server.connect("bob").lives()


def test_a_revoked_user_is_closed_who_came_by_a_first_message(start):
    server = start(FIRST, config=OPERATED)
    token = sign(**times(ago=5))
    client = Stranger(server).shows(token)
    revoke(server, "ann")
    assert client.until("error")["data"]["code"] == "unauthorized"
    assert client.is_closed()[0] == 4401
    server.restart(signal.SIGKILL)
    stranger = Stranger(server)
    stranger.says({"type": "authentication", "token": token})
    assert stranger.hears()["data"]["code"] == "unauthorized"
    assert stranger.is_closed()[0] == 4401


def test_a_revoked_user_is_closed_who_came_by_a_session(start, web):
    known = web()
    known.answer = lambda headers: (200, {"user": {"id": headers["Cookie"]}})
    server = start({"AUTH__MODE": "required", "AUTH__SESSION_URL": known.url}, config=OPERATED)
    ann, bob = [lets_in(server, cookie(server, user), user=user) for user in ("ann", "bob")]
    revoke(server, "ann")
    assert ann.until("error")["data"]["code"] == "unauthorized"
    assert ann.is_closed()[0] == 4401
    bob.lives()
    # The session server says whether it may come again, if it may at all.
    in_time(lambda: lets_in(server, cookie(server, "ann"))).close()
    revoke(server, "ann", {"issued_before": int(time.time()) + 600})
    refused(server, cookie(server, "ann"))


def test_revoking_needs_the_scope_admin(start):
    for scopes in ('["publish", "users", "rooms"]', '["users"]'):
        server = start(
            {"AUTH__MODE": "required", "STORE__PATH": ""} | options("HS256"),
            config=OPERATED.replace('["admin"]', scopes),
        )
        with pytest.raises(urllib.error.HTTPError) as refusal:
            revoke(server, "ann")
        assert refusal.value.code == 403
