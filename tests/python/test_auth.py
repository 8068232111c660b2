"""Who comes in by a token, and who does not: every place where a token can stand, every kind of key, every
way in which a token can be bad; keys that come from a URL, and sessions."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import BINARY, ROOT, SOON
from test_operations import reload
from tokens import ALGORITHMS, KEYS, PAIRS, SECRET, forge, jwk, options, private, public, tampered, times
from tokens import sign as sign_claims

#: One user comes in by many ways here.
FREELY = {"LIMITS__MAX_CONNECTIONS_PER_USER": 0}
REQUIRED = FREELY | {"AUTH__MODE": "required", "AUTH__SOURCES": "header,subprotocol,cookie,query"}
CHALLENGE = 'Bearer error="invalid_token"'
OTHER_SECRET = "another secret of 32 bytes: ok!!"
TOKEN_BYTES_MAX = 8192
RSA_CONFUSED = public("rsa").encode()
OURS = {"iss": "https://issuer.example", "aud": ["chat", "mail"]}
OUR_OPTIONS = {"AUTH__JWT__ISSUER": OURS["iss"], "AUTH__JWT__AUDIENCE": "chat"}


def sign(*arguments, **claims):
    """A token of our issuer and for us, unless it says otherwise."""
    return sign_claims(*arguments, **(OURS | claims))


def presented(server, source, token):
    """How a client shows a token."""
    return {
        "header": {"additional_headers": {"Authorization": f"Bearer {token}"}},
        "pair": {"subprotocols": ["campanile.v1", "bearer", token]},
        "dotted": {"subprotocols": [f"bearer.{token}", "campanile.v1"]},
        "cookie": {"additional_headers": {"Cookie": f"a=b; campanile_token={token}"}, "origin": server.origin},
        "query": {"query": {"token": token}},
        "access_token": {"query": {"access_token": token}},
    }[source]


SOURCES = ["header", "pair", "dotted", "cookie", "query", "access_token"]


def refused(server, arguments, status=401, code="unauthorized", challenge=CHALLENGE):
    """A connection is refused, and told so as the protocol has it."""
    response, body = server.refusal(path="/v1/connect", **arguments)
    told = (response.status_code, body["code"], body["status"], response.headers.get("WWW-Authenticate"))
    assert told == (status, code, status, challenge), body
    assert response.headers["Content-Type"].startswith("application/json")
    assert body.keys() == {"error", "code", "status", "details", "request_id", "timestamp"}
    assert body["error"] and body["details"] == {}
    return response, body


def lets_in(server, arguments, user="ann"):
    client = server.connect(**arguments)
    assert client.user == user
    return client


def bad_tokens(algorithm):
    """What every kind of key refuses, with the code that tells it."""
    now = int(time.time())
    good = sign(algorithm)
    other = PAIRS.get(algorithm, (None, None))[1]
    bad = {
        "expired": (sign(algorithm, **times(lasts=-60, ago=3600)), "token_expired"),
        "without an end": (sign(algorithm, exp=None), "unauthorized"),
        "of an audience that is not us": (sign(algorithm, aud="elsewhere"), "unauthorized"),
        "of no audience": (sign(algorithm, aud=None), "unauthorized"),
        "of another issuer": (sign(algorithm, iss="https://evil.example"), "unauthorized"),
        "of no issuer": (sign(algorithm, iss=None), "unauthorized"),
        "not valid yet": (sign(algorithm, nbf=now + 600), "unauthorized"),
        "made in the future": (sign(algorithm, iat=now + 600), "unauthorized"),
        "of nobody": (sign(algorithm, sub=None), "unauthorized"),
        "of somebody without a name": (sign(algorithm, sub=""), "unauthorized"),
        "unsigned": (forge({"alg": "none"}, **OURS), "unauthorized"),
        "unsigned, in capitals": (forge({"alg": "NONE"}, **OURS), "unauthorized"),
        "without its signature": (good.rsplit(".", 1)[0] + ".", "unauthorized"),
        "tampered with": (tampered(good, sub="root"), "unauthorized"),
        "signed by the public key as a secret": (forge({"alg": "HS256"}, RSA_CONFUSED, **OURS), "unauthorized"),
        "no token at all": ("a.jwt.token", "unauthorized"),
        "with a header that must be understood": (
            forge({"alg": "HS256", "crit": ["b64"], "b64": False}, SECRET.encode(), **OURS),
            "unauthorized",
        ),
    }
    if algorithm == "HS256":
        bad["of another key"] = (sign(key=OTHER_SECRET, **OURS), "unauthorized")
    elif other:
        bad["of another key"] = (sign(algorithm, private(other), **OURS), "unauthorized")
    if algorithm != "HS256":
        bad["of a secret"] = (sign("HS256", **OURS), "unauthorized")
    return bad


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_kind_of_key_from_each_source(start, algorithm):
    server = start(REQUIRED | OUR_OPTIONS | options(algorithm))
    good, bad = sign(algorithm, roles=["editor"]), bad_tokens(algorithm)
    for source in SOURCES:
        client = lets_in(server, presented(server, source, good))
        confirmed = "campanile.v1" if source in ("pair", "dotted") else None
        assert client.socket.subprotocol == confirmed, "the token is not sent back"
        for what, (token, code) in bad.items():
            if source in ("pair", "dotted") and token.endswith("..") or not token:
                continue
            try:
                refused(server, presented(server, source, token), code=code)
            except BaseException as error:
                error.add_note(f"{algorithm}, a token {what}, by {source}")
                raise
    refused(server, {}, challenge="Bearer")


@pytest.mark.parametrize("algorithm", ["HS256", "ES256"])
def test_the_longest_token_comes_in_and_a_longer_one_does_not(start, algorithm):
    server = start(REQUIRED | OUR_OPTIONS | options(algorithm))
    lengths = {}
    for filler in range(5700, 6200):
        token = sign(algorithm, filler="x" * filler)
        lengths[len(token)] = token
    longest = max(length for length in lengths if length <= TOKEN_BYTES_MAX)
    longer = min(length for length in lengths if length > TOKEN_BYTES_MAX)
    assert TOKEN_BYTES_MAX - longest < 4 and longer - TOKEN_BYTES_MAX < 4
    for source in SOURCES:
        lets_in(server, presented(server, source, lengths[longest]))
        refused(server, presented(server, source, lengths[longer]))
        refused(server, presented(server, source, "x" * (TOKEN_BYTES_MAX + 1)))


def test_a_head_of_a_mebibyte_is_refused_before_it_is_read_to_its_end(start):
    server = start(REQUIRED | options("HS256"))
    with server.tcp() as tcp:
        head = "GET /v1/connect HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "
        try:
            tcp.sendall(head.encode() + b"x" * (1 << 20))
        except OSError:
            pass  # It has hung up already.
        try:
            answer = tcp.recv(65536)
        except ConnectionResetError:
            answer = b""  # The kernel threw the answer away with what was not read.
    assert answer == b"" or answer.startswith(b"HTTP/1.1 431 ")
    lets_in(server, presented(server, "header", sign()))


def test_the_query_is_looked_at_only_where_it_is_asked_for(start):
    server = start({"AUTH__MODE": "required"} | options("HS256"))
    refused(server, presented(server, "query", sign()), challenge="Bearer")
    lets_in(server, presented(server, "header", sign()))


def test_one_bad_token_is_not_passed_over_for_a_good_one(start):
    server = start(REQUIRED | options("HS256"))
    good, bad = sign(), sign(key=OTHER_SECRET)
    header = {"Authorization": f"Bearer {bad}", "Cookie": f"campanile_token={good}"}
    refused(server, {"additional_headers": header, "origin": server.origin})
    header = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
    response, body = server.refusal(path="/v1/connect", additional_headers=header)
    assert (response.status_code, body["code"]) == (400, "repeated_header")
    refused(server, {"additional_headers": {"Cookie": f"campanile_token={good}; campanile_token={good}"}})
    refused(server, {"subprotocols": ["bearer", good, f"bearer.{good}"]})
    refused(server, {"additional_headers": {"Authorization": "Bearer "}})
    refused(server, {"query": {"token": good, "access_token": good}})
    # Another scheme is a proxy's, and no token.
    refused(server, {"additional_headers": {"Authorization": "Basic YTpi"}}, challenge="Bearer")


def test_a_cookie_counts_only_with_an_origin(start):
    server = start(REQUIRED | options("HS256"))
    cookie = presented(server, "cookie", sign())
    lets_in(server, cookie)
    response, body = server.refusal(path="/v1/connect", **(cookie | {"origin": None}))
    assert (response.status_code, body["code"]) == (403, "forbidden")
    response, _ = server.refusal(path="/v1/connect", **(cookie | {"origin": "http://evil.example"}))
    assert response.status_code == 403


def test_what_a_token_says_is_who_somebody_is(start):
    claims = {"AUTH__JWT__USER_ID_CLAIM": "uid", "AUTH__JWT__ROLES_CLAIM": "scope"}
    server = start(REQUIRED | options("HS256") | claims)
    token = sign(uid=42, sub="somebody else", scope="admin editor")
    arguments = presented(server, "header", token)
    arguments["query"] = {"user_id": "root", "roles": "root"}
    client = lets_in(server, arguments, user="42")
    client.send({"type": "announcement", "data": {"message": "noon"}})
    assert client.until("announcement")["data"]["message"] == "noon", "the role admin is ours"


# ---- several keys ----

KEY_FILE = """
[auth]
mode = "required"
revalidate_interval = "1s"
[auth.jwt]
leeway = "0s"
{keys}
"""
KEY = '[[auth.key]]\nid = "{id}"\nalgorithm = "{algorithm}"\n{material}\n'


def key_file(*ids):
    material = {
        "old": ("HS256", f'secret = "{SECRET}"'),
        "new": ("RS256", f'public_key = "{KEYS / "rsa.pub.pem"}"'),
        "edge": ("EdDSA", f'public_key = "{KEYS / "ed25519.pub.pem"}"'),
    }
    keys = [KEY.format(id=id, algorithm=material[id][0], material=material[id][1]) for id in ids]
    return KEY_FILE.format(keys="\n".join(keys))


def test_keys_are_told_apart_by_kid_and_rotated_by_a_hangup(start):
    server = start(config=key_file("old", "edge"))

    def by(kid, algorithm="HS256", **claims):
        return presented(server, "header", sign(algorithm, None, kid, **claims))

    old = lets_in(server, by("old"))
    lets_in(server, by("edge", "EdDSA"))
    refused(server, by("new", "RS256"))
    refused(server, by("edge", "HS256"))
    refused(server, by("nobody's", "HS256"))
    refused(server, by("x" * 257, "HS256"))

    server.file.write_text(key_file("old", "new", "edge"))
    assert "auth.key" in reload(server)
    new = lets_in(server, by("new", "RS256"))
    old.lives()

    server.file.write_text(key_file("new", "edge"))
    reload(server)
    refused(server, by("old"))
    # Who came in by the key that is gone is closed at the next look.
    assert old.until("error")["data"]["code"] == "unauthorized"
    assert old.is_closed()[0] == 4401
    new.lives()
    lets_in(server, by("new", "RS256"))


def test_a_key_that_cannot_be_used_leaves_the_old_one_in_force(start):
    server = start(config=key_file("old"))
    server.file.write_text(key_file("old").replace(SECRET, "short"))
    server.signal(signal.SIGHUP)
    deadline = time.monotonic() + SOON
    while "the old one holds" not in (log := server.log.read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.01)
    assert "short" not in log.replace("shorter", "")
    lets_in(server, presented(server, "header", sign("HS256", None, "old")))


# ---- a set of keys at a URL ----


def jwks_options(web):
    return REQUIRED | {"AUTH__JWT__JWKS_URL": web.url, "AUTH__JWT__ALGORITHMS": "RS256,ES256,EdDSA"}


def in_time(attempt, seconds=15):
    """Tries until it succeeds: an unknown key has the set fetched at most once in ten seconds."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return attempt()
        except BaseException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.25)


def test_a_key_set_is_fetched_changed_and_outlives_its_server(start, web):
    keys = web({"keys": [jwk("rsa", "RS256", "a"), jwk("ec-p256", "ES256", "b")]})
    server = start(jwks_options(keys))
    a = presented(server, "header", sign("RS256", None, "a"))
    in_time(lambda: lets_in(server, a), SOON)
    lets_in(server, presented(server, "header", sign("ES256", None, "b")))
    # A secret is none of a set's business, and neither is the text of a public key.
    refused(server, presented(server, "header", sign("HS256", None, "a")))
    refused(server, presented(server, "header", forge({"alg": "HS256", "kid": "a"}, RSA_CONFUSED, **OURS)))

    # Rotated: a token of the new key has the set fetched, and however many come, once in ten seconds.
    keys.body = {"keys": [jwk("ed25519", "EdDSA", "c"), jwk("ec-p256", "ES256", "b")]}
    c = presented(server, "header", sign("EdDSA", None, "c"))
    in_time(lambda: lets_in(server, c))
    refused(server, a)
    lets_in(server, presented(server, "header", sign("ES256", None, "b")))
    fetched = len(keys.asked)
    for number in range(20):
        refused(server, presented(server, "header", sign("EdDSA", None, f"unknown-{number}")))
    assert len(keys.asked) <= fetched + 1

    # Gone: the keys from before hold, and who shows another cannot be judged.
    keys.status = 500
    lets_in(server, c)
    unknown = presented(server, "header", sign("RS256", None, "d"))
    response, _ = in_time(lambda: refused(server, unknown, 503, "unavailable", None))
    assert int(response.headers["Retry-After"]) > 0
    lets_in(server, c)


def test_who_shows_a_key_that_is_being_fetched_waits_for_it(start, web):
    keys = web({"keys": [jwk("rsa", "RS256", "a")]})
    keys.delay = 1
    server = start(jwks_options(keys))
    # The fetch of the start is under way.
    lets_in(server, presented(server, "header", sign("RS256", None, "a")))
    assert len(keys.asked) == 1


def test_without_a_key_set_nobody_can_be_judged(start, web):
    keys = web()
    keys.status = 503
    server = start(jwks_options(keys))
    token = presented(server, "header", sign("RS256", None, "a"))
    refused(server, token, 503, "unavailable", None)
    refused(server, {}, challenge="Bearer")
    refused(server, presented(server, "header", "a.jwt.token"))
    keys.status, keys.body = 200, {"keys": [jwk("rsa", "RS256", "a")]}
    in_time(lambda: lets_in(server, token))


# ---- sessions: 4.1 ----


def sessions(cookies):
    """The answer of a session server that knows these cookies: Better Auth's shape."""

    def answer(headers):
        user = cookies.get(headers.get("Cookie"))
        return 200, {"session": {"id": "s1"}, "user": user} if user else None

    return answer


@pytest.fixture
def session_server(start, web):
    """A server whose sessions another one knows."""
    known = web()
    known.cookies = {"better-auth.session_token=abc": {"id": "ann", "role": "admin"}}
    known.answer = sessions(known.cookies)

    def begin(**more):
        options = {"AUTH__MODE": "required", "AUTH__SESSION_URL": known.url, "AUTH__SESSION_TIMEOUT": "1s"}
        return start(options | more)

    begin.web = known
    return begin


def cookie(server, value):
    return {"additional_headers": {"Cookie": value}, "origin": server.origin}


def test_req_4_1_a_session_is_asked_about_before_the_upgrade(session_server):
    server, web = session_server(), session_server.web
    good = cookie(server, "better-auth.session_token=abc")
    client = server.join(**good)
    assert client.user == "ann"
    assert web.asked[0]["Cookie"] == "better-auth.session_token=abc"
    client.send({"type": "announcement", "message": "noon"})
    client.until("announcement")
    refused(server, cookie(server, "better-auth.session_token=other"))
    refused(server, cookie(server, "theme=dark"))
    refused(server, {}, challenge="Bearer")
    response, _ = server.refusal(path="/v1/connect", additional_headers=good["additional_headers"])
    assert response.status_code == 403, "a cookie without an Origin is any page's"


def test_req_4_1_a_session_server_that_fails_is_not_a_no(session_server):
    server, web = session_server(), session_server.web
    for status, body in [(500, None), (200, "no object"), (404, None)]:
        web.answer = lambda _, status=status, body=body: (status, body)
        response, told = server.refusal(path="/v1/connect", **cookie(server, f"s={status}{body}"))
        if body == "no object":
            # It has answered, and named nobody.
            assert response.status_code == 401
            continue
        assert (response.status_code, told["code"]) == (503, "unavailable")
        assert int(response.headers["Retry-After"]) > 0
    web.answer, web.delay = sessions({"slow": {"id": "ann"}}), 3
    response, _ = server.refusal(path="/v1/connect", **cookie(server, "slow"))
    assert response.status_code == 503
    for status in (401, 403):
        web.answer, web.delay = lambda _, status=status: (status, None), 0
        refused(server, cookie(server, f"refused={status}"))


def test_a_session_that_ends_is_closed_at_the_next_look(session_server):
    server, web = session_server(AUTH__REVALIDATE_INTERVAL="1s"), session_server.web
    client = lets_in(server, cookie(server, "better-auth.session_token=abc"))
    # A session server that cannot be asked has not said no.
    web.answer = lambda _: (500, None)
    asked = len(web.asked)
    deadline = time.monotonic() + SOON
    while len(web.asked) < asked + 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.lives()
    web.answer = sessions({})
    assert client.until("error")["data"]["code"] == "unauthorized"
    assert client.is_closed()[0] == 4401
    refused(server, cookie(server, "better-auth.session_token=abc"))


def test_visitors_with_other_cookies_are_guests_where_guests_are_let_in(session_server):
    server = session_server(AUTH__MODE="optional", AUTH__COOKIE_NAME="better-auth.session_token")
    assert server.connect(**cookie(server, "theme=dark")).user.startswith("guest-")
    lets_in(server, cookie(server, "better-auth.session_token=abc"))
    refused(server, cookie(server, "better-auth.session_token=other"))


# ---- campanile gen-token and check-token ----


def campanile(*arguments, stdin=None):
    return subprocess.run([BINARY, *arguments], input=stdin, capture_output=True, text=True, timeout=SOON)


def test_a_token_of_the_command_line_opens_the_server(start, tmp_path):
    secret, file = tmp_path / "secret.txt", tmp_path / "campanile.toml"
    secret.write_text(SECRET + "\n")
    jwt = f'secret_file = "{secret}"\nissuer = "me"\naudience = ["chat"]\n'
    file.write_text(f'[auth]\nmode = "required"\n[auth.jwt]\n{jwt}')
    server = start(config=file.read_text())
    made = campanile("gen-token", "--config", file, "--user", "ann", "--roles", "admin,editor", "--expires", "1h")
    assert (made.returncode, made.stderr) == (0, "")
    lets_in(server, presented(server, "header", made.stdout.strip()))
    checked = campanile("check-token", "--config", file, "-", stdin=made.stdout)
    assert checked.returncode == 0, checked.stderr
    assert "user     ann\n" in checked.stdout and "roles    admin, editor\n" in checked.stdout
    other = campanile("gen-token", "--user", "ann", "--secret", OTHER_SECRET).stdout.strip()
    refused(server, presented(server, "header", other))
    checked = campanile("check-token", "--config", file, other)
    assert (checked.returncode, checked.stdout) == (1, "")
    assert "(bad_signature)" in checked.stderr
    assert SECRET not in made.stdout + checked.stderr


@pytest.mark.parametrize("algorithm", PAIRS)
def test_a_token_of_a_private_key_is_checked_by_the_public_one(algorithm):
    name = PAIRS[algorithm][0]
    key = ["--key", KEYS / f"{name}.pem", "--algorithm", algorithm, "--kid", "k1"]
    made = campanile("gen-token", "-u", "ann", *key)
    assert made.returncode == 0, made.stderr
    by = ["--key", KEYS / f"{name}.pub.pem", "--algorithm", algorithm]
    checked = campanile("check-token", made.stdout.strip(), *by, "--kid", "k1")
    assert checked.returncode == 0, checked.stderr
    expired = sign(algorithm, **times(lasts=-60, ago=3600))
    checked = campanile("check-token", expired, *by)
    assert (checked.returncode, "(expired)" in checked.stderr) == (1, True)
    assert campanile("check-token", expired).returncode == 2, "no key is named"


def test_the_commands_in_the_documents_do_what_they_say(tmp_path):
    section = (ROOT / "docs/SECURITY.md").read_text().split("### To make and check a token\n")[1].split("\n#")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 2
    (tmp_path / "campanile.toml").write_text(f'[auth.jwt]\nsecret = "{SECRET}"\nissuer = "me"\n')
    path = f"{Path(BINARY).parent}:{os.environ['PATH']}"
    for block in blocks:
        ran = subprocess.run(
            ["sh", "-e", "-c", block],
            cwd=tmp_path,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            timeout=2 * SOON,
        )
        assert ran.returncode == 0, ran.stderr
        checks = block.count("check-token")
        assert ran.stdout.count("user     ann\n") == checks, ran.stdout
