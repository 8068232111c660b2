"""Which pages come in, from behind which proxies, how often, and what the security log says of the others."""

import json
import re
import time
import urllib.error
import urllib.request
from contextlib import suppress

import pytest
from conftest import SOON
from test_auth import lets_in, presented, refused
from test_identity import KEY, OPERATED, Stranger, revoke, shows
from test_operations import said
from tokens import options, sign, times
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

TRUST = {"AUTH__MODE": "trust", "LIMITS__MAX_CONNECTIONS_PER_USER": 0}
OTHER_SECRET = "another secret of 32 bytes: ok!!"
ROOM = "/ws/42"
PLAIN = "/v1/connect"


def comes_in(server, path, origin=None, **headers):
    """Whether a request with this origin is let in; if not, then by 403 and in the protocol's words."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        server.open("ann", path, origin=origin, additional_headers=headers).close()
        return True
    except InvalidStatus as refusal:
        body = json.loads(refusal.response.body)
        assert (refusal.response.status_code, body["code"], body["status"]) == (403, "forbidden", 403), body
        return False


# ---- origins ----


@pytest.mark.parametrize("path", [ROOM, PLAIN])
def test_same_origin_is_scheme_host_and_port(start, path):
    server = start(TRUST)
    assert comes_in(server, path, server.origin)
    assert comes_in(server, path, server.origin.replace("http", "HTTP"))
    for other in [
        server.origin.replace("http", "https"),
        f"http://127.0.0.1:{server.port ^ 1}",
        "http://127.0.0.1",
        f"http://localhost:{server.port}",
        f"{server.origin}.evil.example",
        f"http://evil.example/{server.origin}",
        f"http://127.0.0.1@evil.example:{server.port}",
        f"{server.origin}/",
        "null",
        "*",
        "",
    ]:
        assert not comes_in(server, path, other), other


def test_a_missing_origin_is_refused_where_the_path_names_the_room(start):
    server = start(TRUST)
    assert not comes_in(server, ROOM)
    assert comes_in(server, PLAIN) and comes_in(server, "/ws") and comes_in(server, "/api/v1/ws")


def test_an_origin_can_be_asked_of_all_or_of_none(start):
    always = start(TRUST | {"ORIGIN__REQUIRE": "always"})
    assert not comes_in(always, PLAIN) and not comes_in(always, ROOM)
    assert comes_in(always, PLAIN, always.origin)
    never = start({"AUTH__MODE": "optional", "ORIGIN__REQUIRE": "never"} | options("HS256"))
    assert comes_in(never, PLAIN) and comes_in(never, ROOM)
    assert not comes_in(never, ROOM, "http://evil.example")
    # A cookie is sent along by any page, and needs one all the same.
    cookie = presented(never, "cookie", sign())
    response, _ = never.refusal(path=PLAIN, **(cookie | {"origin": None}))
    assert response.status_code == 403
    lets_in(never, cookie)


def test_patterns_name_hosts_below_and_not_the_host_itself(start):
    allowed = "https://app.example,https://*.example.org,http://*.local.example:8000"
    server = start(TRUST | {"ORIGIN__ALLOWED": allowed})
    for origin in [
        "https://app.example",
        "https://app.example:443",
        "https://a.example.org",
        "https://a.b.example.org",
        "http://a.local.example:8000",
    ]:
        assert comes_in(server, PLAIN, origin), origin
    for origin in [
        "http://app.example",
        "https://app.example:8443",
        "https://sub.app.example",
        "https://example.org",
        "https://.example.org",
        "https://evilexample.org",
        "https://a.example.org.evil.example",
        "http://a.example.org",
        "http://a.local.example",
        "null",
        server.origin,
    ]:
        assert not comes_in(server, PLAIN, origin), origin


def test_a_page_without_an_origin_of_its_own_comes_in_only_if_it_is_listed(start):
    server = start(TRUST | {"ORIGIN__ALLOWED": "same-origin,null"})
    assert comes_in(server, PLAIN, "null") and comes_in(server, ROOM, "null")
    assert comes_in(server, PLAIN, server.origin)
    assert not comes_in(server, PLAIN, "http://evil.example")


def test_a_star_lets_every_page_in(start):
    server = start(TRUST | {"ORIGIN__ALLOWED": "*"})
    assert comes_in(server, ROOM, "http://evil.example") and comes_in(server, ROOM, "null")
    assert not comes_in(server, ROOM), "it still has to say which it is"


# ---- CORS of the HTTP API ----


def http(server, method, path, body=None, **headers):
    """Status, header fields and text of an answer."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.origin + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=SOON) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def preflight(server, origin, **headers):
    wanted = {"Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization,idempotency-key"}
    return http(server, "OPTIONS", "/api/v1/connections", Origin=origin, **wanted, **headers)[1]


def test_a_preflight_is_answered_to_allowed_pages_alone(start):
    server = start({"AUTH__MODE": "required", "ORIGIN__ALLOWED": "same-origin,https://app.example"} | options("HS256"))
    told = preflight(server, "https://app.example")
    assert told["Access-Control-Allow-Origin"] == "https://app.example"
    assert told["Access-Control-Allow-Credentials"] == "true"
    assert "POST" in told["Access-Control-Allow-Methods"]
    assert {"authorization", "idempotency-key"} <= set(told["Access-Control-Allow-Headers"].lower().split(","))
    assert "origin" in told["Vary"].lower()
    for origin in ["https://evil.example", "null", "http://app.example"]:
        assert preflight(server, origin)["Access-Control-Allow-Origin"] is None, origin

    bearer = {"Authorization": f"Bearer {sign()}"}
    status, told, _ = http(server, "GET", "/api/v1/connections", Origin="https://app.example", **bearer)
    assert (status, told["Access-Control-Allow-Origin"]) == (200, "https://app.example")
    status, told, _ = http(server, "GET", "/api/v1/connections", Origin="https://evil.example", **bearer)
    assert (status, told["Access-Control-Allow-Origin"]) == (403, None)
    # Also a refusal can be read by the page that is allowed to ask.
    status, told, body = http(server, "GET", "/api/v1/connections", Origin="https://app.example")
    assert (status, told["Access-Control-Allow-Origin"]) == (401, "https://app.example")
    assert told["WWW-Authenticate"] == "Bearer" and json.loads(body)["code"] == "unauthorized"


def test_a_page_that_comes_by_the_star_has_no_cookies(start):
    server = start({"AUTH__MODE": "required", "ORIGIN__ALLOWED": "*"} | options("HS256"))
    told = preflight(server, "https://any.example")
    assert told["Access-Control-Allow-Origin"] in ("*", "https://any.example")
    assert told["Access-Control-Allow-Credentials"] is None


# ---- proxies ----

PROXIED = TRUST | {"SERVER__TRUSTED_PROXIES": "127.0.0.1"}
#: The peer, 127.0.0.1, is not among them.
UNTRUSTED = TRUST | {"SERVER__TRUSTED_PROXIES": "10.0.0.0/8"}


def test_behind_a_trusted_proxy_its_word_is_the_request_own_name(start):
    server = start(PROXIED)
    page = "https://chat.example"
    said = {"X_Forwarded_For": "203.0.113.7", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "chat.example"}
    assert comes_in(server, PLAIN, page, **said)
    assert comes_in(server, ROOM, page, **said)
    assert comes_in(server, PLAIN, page, Forwarded='for=203.0.113.7;proto=https;host="chat.example"')
    assert not comes_in(server, PLAIN, page, **(said | {"X_Forwarded_Proto": "http"}))
    assert not comes_in(server, PLAIN, server.origin, **said), "its own address is not the client's name for it"
    assert preflight(server, page, **said)["Access-Control-Allow-Origin"] == page


def test_the_word_of_others_counts_for_nothing(start):
    server = start(UNTRUSTED)
    said = {"X_Forwarded_For": "203.0.113.7", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "chat.example"}
    assert not comes_in(server, PLAIN, "https://chat.example", **said)
    assert comes_in(server, PLAIN, server.origin, **said)
    assert preflight(server, "https://chat.example", **said)["Access-Control-Allow-Origin"] is None


# ---- rates and limits by address ----


def entered(server, address=None):
    """`None` if a connection opens, else status, code and header fields of the refusal."""
    headers = {"X-Forwarded-For": address} if address else None
    try:
        return server.open("ann", PLAIN, additional_headers=headers) and None
    except InvalidStatus as refusal:
        response = refusal.response
        return response.status_code, json.loads(response.body)["code"], response.headers


def test_handshakes_of_an_address_are_counted_by_what_a_trusted_proxy_says(start):
    rate = {"LIMITS__ADDRESS_HANDSHAKES_PER_SECOND": 1, "LIMITS__ADDRESS_HANDSHAKE_BURST": 3}
    server = start(PROXIED | rate)
    results = [entered(server, "203.0.113.7") for _ in range(12)]
    refusals = [result for result in results if result]
    assert results[:3] == [None] * 3 and len(refusals) >= 5
    for status, code, headers in refusals:
        assert (status, code) == (429, "rate_limited")
        assert int(headers["Retry-After"]) >= 1
    # Another address has its own; what a client wrote to the left says nothing.
    assert entered(server, "203.0.113.8") is None
    assert any(entered(server, f"198.51.100.{n}, 203.0.113.9") for n in range(12))
    # A /64 of IPv6 is one address.
    assert any(entered(server, f"2001:db8::{n}") for n in range(12))

    server = start(UNTRUSTED | rate)
    assert any(entered(server, f"203.0.113.{n}") for n in range(12)), "all of them are the peer's"


def test_connections_of_an_address_are_bounded_and_their_places_are_given_back(start):
    server = start(PROXIED | {"LIMITS__MAX_CONNECTIONS_PER_ADDRESS": 2})
    header = {"additional_headers": {"X-Forwarded-For": "203.0.113.7"}}
    first, _ = server.open("a", PLAIN, **header), server.open("b", PLAIN, **header)
    status, code, headers = entered(server, "203.0.113.7")
    assert (status, code) == (429, "connection_limit") and "Retry-After" not in headers
    assert entered(server, "203.0.113.8") is None
    first.close()
    deadline = time.monotonic() + SOON
    while entered(server, "203.0.113.7"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert entered(server, "203.0.113.7")

    server = start(UNTRUSTED | {"LIMITS__MAX_CONNECTIONS_PER_ADDRESS": 2})
    assert [bool(entered(server, f"203.0.113.{n}")) for n in range(3)] == [False, False, True]


def test_handshakes_of_all_together_are_bounded(start):
    server = start(TRUST | {"LIMITS__HANDSHAKES_PER_SECOND": 2})
    refusals = [refusal for refusal in (entered(server) for _ in range(12)) if refusal]
    assert refusals
    for status, code, headers in refusals:
        assert (status, code, headers["Retry-After"]) == (503, "unavailable", "1")


# ---- the security log ----


@pytest.fixture
def watched(start, tmp_path):
    """A server whose security events can be waited for."""
    file = tmp_path / "security.jsonl"

    def begin(*arguments, **keywords):
        options, *rest = arguments
        server = start(options | {"LOG__SECURITY_FILE": file}, *rest, **keywords)
        seen = 0

        def told(kind, reason, **members):
            """Waits for an event; what came before it has been looked at."""
            nonlocal seen
            deadline = time.monotonic() + SOON
            while True:
                lines = file.read_text().splitlines(keepends=True)
                for number, line in enumerate(lines[seen:], seen):
                    if not line.endswith("\n"):
                        break
                    event = json.loads(line)
                    if (event.get("kind"), event.get("reason")) == (kind, reason):
                        seen = number + 1
                        assert members.items() <= event.items(), event
                        assert event["timestamp"] and event["detail"]
                        return event
                assert time.monotonic() < deadline, f"no {kind} {reason} in {lines[seen:]}"
                time.sleep(0.02)

        server.told, server.file = told, file
        return server

    return begin


HERE = {"address": "127.0.0.1"}


def test_who_is_refused_is_told_of_with_the_reason(watched):
    server = watched({"AUTH__MODE": "required"} | options("HS256"))
    for token, reason in [
        (sign(key=OTHER_SECRET), "bad_signature"),
        (sign(**times(lasts=-60, ago=600)), "expired"),
        (sign(nbf=int(time.time()) + 600), "not_yet_valid"),
        (sign("RS256"), "algorithm"),
        ("x" * 8193, "too_long"),
        ("nonsense", "malformed"),
    ]:
        with pytest.raises(InvalidStatus):
            server.open(path=PLAIN, **shows(token))
        event = server.told("refused", reason, **HERE)
        assert "user" not in event
    refused(server, {}, challenge="Bearer")
    server.told("refused", "missing", **HERE)
    assert not comes_in(server, PLAIN, "http://evil.example")
    server.told("refused", "origin", **HERE)
    assert not comes_in(server, ROOM)
    server.told("refused", "no_origin", **HERE)
    # Nobody's secrets are among it, nor in the ordinary log.
    assert "eyJ" not in server.file.read_text() + server.log.read_text()
    assert "campanile::security" not in server.log.read_text()


def test_who_asks_for_what_they_may_not_is_told_of_with_user_and_address(watched):
    server = watched({"AUTH__MODE": "trust", "SERVER__SHARDS": "4"})
    owner, other = server.connect("7"), server.connect("8")
    for room in ["a", "b", "c", "d", "e", "f"]:
        owner.rpc("room.create", room_id=room, is_private=True)
        subscribe = {"type": "subscribe", "id": room, "data": {"topic": room}}
        assert other.reply(subscribe)["data"]["code"] == "forbidden"
        event = server.told("forbidden", "not_allowed", user="8", **HERE)
        assert event["detail"] == "subscribe"
        response, _ = server.refusal("8", path=f"/ws/{room}", origin=server.origin)
        assert response.status_code == 403
        event = server.told("forbidden", "not_allowed", user="8", **HERE)
        assert event["detail"] == "not allowed in this room"


def test_who_comes_too_late_or_with_a_wrong_first_message_is_told_of(watched):
    server = watched({"AUTH__MODE": "first_message", "AUTH__TIMEOUT": "1s"} | options("HS256"))
    late, wrong = Stranger(server), Stranger(server)
    wrong.says({"type": "authentication", "token": sign(key=OTHER_SECRET)})
    assert wrong.is_closed()[0] == 4401
    server.told("refused", "bad_signature", **HERE)
    assert late.is_closed()[0] == 4408
    server.told("refused", "timeout", **HERE)


def test_the_address_is_that_which_a_trusted_proxy_tells(watched):
    server = watched({"AUTH__MODE": "required", "SERVER__TRUSTED_PROXIES": "127.0.0.1"} | options("HS256"))
    with pytest.raises(InvalidStatus):
        server.open(path=PLAIN, additional_headers={"X-Forwarded-For": "203.0.113.7"})
    server.told("refused", "missing", address="203.0.113.7")


def test_revoked_expired_and_forbidden_users_are_told_of_by_name(watched):
    ends = {"AUTH__MODE": "required", "AUTH__EXPIRY_GRACE": "0s", "AUTH__JWT__LEEWAY": "0s"}
    server = watched(ends | options("HS256"), OPERATED)
    ann = {"user": "ann"} | HERE
    revoked = sign(jti="lost")
    client = lets_in(server, shows(revoked))
    client.reply({"type": "announcement", "id": "1", "data": {"message": "noon"}})
    server.told("forbidden", "not_allowed", **ann)
    revoke(server, "ann", {"token_id": "lost"})
    assert client.is_closed()[0] == 4401
    server.told("revoked", "revoked", **ann)
    refused(server, shows(revoked))
    event = server.told("revoked", "revoked", **HERE)
    assert "user" not in event, "nobody is known by it any more"
    client = lets_in(server, shows(sign(**times(lasts=2))))
    assert client.is_closed()[0] == 4401
    server.told("expired", "expired", **ann)


def test_limits_are_told_of(watched):
    server = watched(
        TRUST
        | {
            "LIMITS__MAX_CONNECTIONS_PER_USER": 1,
            "LIMITS__MAX_CONNECTIONS_PER_ADDRESS": 2,
        }
    )
    assert entered(server) is None
    assert entered(server)[1] == "connection_limit"
    server.told("limit", "user_connections", user="ann", **HERE)
    server.open("bob", PLAIN)
    assert entered(server)[1] == "connection_limit"
    server.told("limit", "address_connections", **HERE)

    rate = {"LIMITS__ADDRESS_HANDSHAKES_PER_SECOND": 1, "LIMITS__ADDRESS_HANDSHAKE_BURST": 1}
    server = watched(TRUST | rate)
    assert any(entered(server) for _ in range(12))
    server.told("limit", "address_rate", **HERE)

    server = watched(TRUST | {"LIMITS__HANDSHAKES_PER_SECOND": 1})
    assert any(entered(server) for _ in range(12))
    server.told("limit", "handshakes", **HERE)


def test_callers_of_the_http_api_are_told_of(watched):
    server = watched({"AUTH__MODE": "required"} | options("HS256"), OPERATED)
    assert http(server, "GET", "/api/v1/users", Authorization=f"Bearer {sign(key=OTHER_SECRET)}")[0] == 401
    server.told("refused", "bad_signature", **HERE)
    # A key without the scope for it.
    assert http(server, "GET", "/api/v1/users", Authorization=f"Bearer {KEY}")[0] == 403
    assert "operator" in server.told("forbidden", "not_allowed", **HERE)["user"]
    assert http(server, "GET", "/api/v1/users", Origin="http://evil.example", Authorization=f"Bearer {KEY}")[0] == 403
    server.told("refused", "origin", **HERE)
    assert KEY not in server.file.read_text()


def test_a_proxy_that_breaks_the_rules_is_told_of(watched):
    server = watched(PROXIED | {"SERVER__PROXY_PROTOCOL": "v1v2"})
    with server.tcp() as tcp:
        tcp.sendall(b"GET /v1/connect HTTP/1.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert tcp.recv(1024) == b""
    server.told("refused", "proxy_header", **HERE)

    server = watched(UNTRUSTED | {"SERVER__PROXY_PROTOCOL": "v1v2"})
    with server.tcp() as tcp, suppress(ConnectionResetError):
        assert tcp.recv(1024) == b""
    server.told("refused", "untrusted_proxy", **HERE)


def test_who_guesses_at_the_dashboard_is_told_of(watched):
    server = watched(TRUST | {"ADMIN__TOKEN": "a token of sixteen bytes"}, admin="127.0.0.1:0")
    port = re.search(r"dashboard: http://127.0.0.1:(\d+)/", said(server, "dashboard: ")).group(1)
    url = f"ws://127.0.0.1:{port}/admin/live"
    with pytest.raises(InvalidStatus):
        connect(url, additional_headers={"Authorization": "Bearer wrong"})
    server.told("refused", "admin_token", **HERE)
    with pytest.raises(InvalidStatus):
        connect(url, origin="http://evil.example")
    server.told("refused", "origin", **HERE)
    for _ in range(12):
        with pytest.raises(InvalidStatus):
            connect(url, additional_headers={"Authorization": "Bearer wrong"})
    server.told("limit", "admin_token", **HERE)
    assert "wrong" not in server.file.read_text()
