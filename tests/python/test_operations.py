"""What an operator does with a running server: SIGHUP, the admin listener, systemd, `campanile health`."""

import json
import re
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import BINARY, ROOT, SOON, Server, free_port
from websockets.exceptions import InvalidStatus

FILE = """
[auth]
mode = "trust"
[limits]
max_connections_per_user = {per_user}
messages_per_second = {rate}
burst = {rate}
[origin]
allowed = {origins}
[[namespace]]
pattern = "team:*"
max_clients = {team}
[[namespace]]
pattern = "*"
"""
BEFORE = {"per_user": 2, "rate": 1000, "origins": '["https://one.example"]', "team": 1}


@pytest.fixture
def configured(tmp_path):
    """Starts a server on a file that `write` changes."""
    file = tmp_path / "campanile.toml"

    def write(**changes):
        file.write_text(FILE.format(**(BEFORE | changes)))

    write()
    server = Server(tmp_path / "server.log", {}, file, admin="127.0.0.1:0")
    server.write, server.file = write, file
    yield server
    server.stop()


def said(server, text, since=0):
    """Waits until the log says it; what the log says from `since` on."""
    deadline = time.monotonic() + SOON
    while text not in (log := server.log.read_text()[since:]):
        assert time.monotonic() < deadline, log
        time.sleep(0.01)
    return log


def reload(server):
    """SIGHUP; what the log says about it."""
    since = len(server.log.read_text())
    server.signal(signal.SIGHUP)
    deadline = time.monotonic() + SOON
    while not re.search("loaded again: |the old one holds", log := server.log.read_text()[since:]):
        assert server.process.poll() is None and time.monotonic() < deadline, log
        time.sleep(0.01)
    return log


def test_limits_origins_and_namespaces_change_at_a_hangup(configured):
    server = configured
    ann = server.connect("ann")
    server.connect("ann")
    response, body = server.refusal("ann", path="/v1/connect")
    assert (response.status_code, body["code"]) == (429, "connection_limit")
    assert server.refusal("bob", origin="https://two.example")[0].status_code == 403
    join = {"type": "subscribe", "id": "1", "data": {"topic": "team:red"}}
    assert ann.reply(join)["type"] != "error"
    bob = server.connect("bob")
    assert bob.reply(join)["data"]["code"] == "room_full"

    server.write(per_user=3, rate=3, origins='["https://two.example"]', team=2)
    log = reload(server)
    for option in ["limits.max_connections_per_user", "limits.burst", "origin.allowed", "namespace"]:
        assert option in log, log
    server.connect("ann")
    assert server.refusal("ann", path="/v1/connect")[0].status_code == 429
    server.connect("bob", origin="https://two.example")
    assert server.refusal("bob", origin="https://one.example")[0].status_code == 403
    assert bob.reply(join)["type"] != "error", "the room takes two now"
    # Of the connections that were there before, too.
    answers = [ann.reply({"type": "ping", "id": str(n)}) for n in range(8)]
    assert {a["type"] for a in answers} == {"pong", "error"}, answers


def test_the_rate_of_the_api_changes_at_a_hangup(configured):
    server = configured

    def rooms():
        request = urllib.request.Request(f"http://127.0.0.1:{server.port}/api/v1/rooms", headers={"X-User-Id": "ann"})
        try:
            with urllib.request.urlopen(request, timeout=SOON) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code

    assert [rooms() for _ in range(5)] == [200] * 5
    text = server.file.read_text()
    server.file.write_text(text + "\n[api]\nrequests_per_second = 1\n")
    assert "configuration loaded again: api.requests_per_second" in reload(server)
    answers = [rooms() for _ in range(100)]
    assert answers[:2] == [200, 200] and 429 in answers, answers
    server.file.write_text(text)
    reload(server)
    assert [rooms() for _ in range(5)] == [200] * 5


def test_a_bad_file_changes_nothing_and_all_that_is_wrong_is_logged(configured):
    server = configured
    server.write(per_user=1, rate='"many"', origins='["nowhere"]')
    log = reload(server)
    assert "limits.messages_per_second: expected integer" in log
    assert "limits.burst: expected integer" in log
    assert "origin.allowed: expected" in log
    assert "the old one holds" in log
    server.connect("ann")
    server.connect("ann")
    server.file.unlink()
    assert "cannot be read" in reload(server)
    server.connect("bob")
    server.write(per_user=3)
    assert "configuration loaded again: limits.max_connections_per_user" in reload(server)
    server.connect("ann")


def test_what_needs_a_restart_is_named_and_stays(configured):
    server = configured
    text = server.file.read_text()
    server.file.write_text(text + '\n[server]\nshards = 3\n[[route]]\npath = "/new"\n')
    log = reload(server)
    assert "changed, but needs a restart: server.shards, route" in log
    assert "nothing else has changed" in log
    server.connect("ann")
    assert server.refusal("ann", path="/new")[0].status_code == 404


def test_a_namespace_that_persists_can_be_added_and_a_store_cannot(configured):
    server = configured
    text = server.file.read_text()
    kept = text.replace("[[namespace]]", '[[namespace]]\npattern = "kept"\npersist = true\n[[namespace]]', 1)
    server.file.write_text(kept)
    assert "configuration loaded again: namespace" in reload(server)
    server.file.write_text('[store]\npath = ""\n' + text)
    assert "changed, but needs a restart: store.path" in reload(server)
    server.restart()
    server.file.write_text(kept)
    assert "a persistent room needs a store" in reload(server)


def test_connections_outlive_many_reloads(configured):
    server = configured
    ann, bob = server.join_all("ann", "bob")
    for _ in range(20):
        server.signal(signal.SIGHUP)
    reload(server)
    ann.send({"type": "chat", "content": "still here"})
    assert bob.until("chat")["content"] == "still here"


def admin_url(server):
    return re.search(r"dashboard: (http://\S+/)admin/", said(server, "dashboard: ")).group(1)


def test_the_admin_listener_answers_beside_the_clients(configured):
    url = admin_url(configured)
    with urllib.request.urlopen(url + "healthz", timeout=SOON) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(url + "nothing", timeout=SOON)
    assert refused.value.code == 404


def health(*arguments):
    return subprocess.run([BINARY, "health", *arguments], capture_output=True, text=True, timeout=SOON, check=False)


def test_health_asks_and_exits_as_the_answer_is(configured):
    url = admin_url(configured)
    well = health(url + "healthz")
    assert (well.returncode, well.stdout) == (0, "ok\n"), well
    for wrong in [url + "nothing", "http://127.0.0.1:1/", "https://127.0.0.1/", "http://name:1/"]:
        ill = health(wrong)
        assert ill.returncode == 1 and ill.stderr.startswith(wrong), ill


def test_an_admin_address_that_is_taken_is_named_with_its_option(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [BINARY, "serve", "--listen", "127.0.0.1:0", "--admin-listen", address]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SOON, check=False)
    assert ended.returncode == 1
    assert f"cannot listen on {address} for the admin listener (server.admin_listen)" in ended.stderr


class Manager:
    """What systemd is for a service: a datagram socket that hears of its state."""

    def __init__(self, path):
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(SOON)

    def hears(self):
        """The next message, as a dict."""
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())

    def hears_of(self, key):
        """The next message with this member; what comes before it is dropped."""
        while key not in (message := self.hears()):
            pass
        return message


def test_systemd_is_told_of_start_reload_life_and_end(tmp_path, monkeypatch):
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    server = Server(tmp_path / "server.log", {"AUTH__MODE": "trust"})
    assert manager.hears_of("READY") == {"READY": "1", "STATUS": "serving"}
    server.join("ann")
    for _ in range(3):
        assert manager.hears_of("WATCHDOG") == {"WATCHDOG": "1"}
    before = time.monotonic_ns() // 1000
    server.signal(signal.SIGHUP)
    reloading = manager.hears_of("RELOADING")
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.hears_of("READY")["READY"] == "1"
    server.signal()
    assert manager.hears_of("STOPPING")["STOPPING"] == "1"
    assert server.exit_code() == 0
    server.stop()


def test_the_watchdog_is_not_told_while_nobody_set_one(tmp_path, monkeypatch):
    manager = Manager(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", manager.path)
    monkeypatch.delenv("WATCHDOG_USEC", raising=False)
    server = Server(tmp_path / "server.log", {"AUTH__MODE": "trust"})
    assert "READY" in manager.hears()
    server.signal(signal.SIGHUP)
    assert "RELOADING" in manager.hears(), "nothing came in between"
    server.stop()


KEYS = ROOT / "src/auth/tests/keys"
GUARDED = """
[auth]
mode = "required"
revalidate_interval = "1s"
{keys}
[origin]
allowed = ["{origin}"]
[limits]
max_connections_per_address = {per_address}
address_handshakes_per_second = {handshakes}
address_handshake_burst = 1
{more}
"""
SECRETS = {"a": "an old secret that is long enough for it", "b": "a new secret that is long enough for it"}


def secret_keys(*names):
    return "\n".join(f'[[auth.key]]\nid = "{name}"\nalgorithm = "HS256"\nsecret = "{SECRETS[name]}"' for name in names)


def token(user, *arguments):
    made = subprocess.run([BINARY, "gen-token", "--user", user, *arguments], capture_output=True, text=True, check=True)
    return made.stdout.strip()


def bearer(name):
    """A token of "ann" that is signed with the secret of this name."""
    return {"additional_headers": {"Authorization": f"Bearer {token('ann', '--secret', SECRETS[name], '--kid', name)}"}}


@pytest.fixture
def guarded(tmp_path):
    """Starts a server that asks for tokens, on a file that `write` changes."""
    file = tmp_path / "campanile.toml"
    first = {"keys": secret_keys("a"), "origin": "https://one.example", "per_address": 0, "handshakes": 0, "more": ""}

    def write(**changes):
        file.write_text(GUARDED.format(**(first | changes)))

    servers = []

    def start(**changes):
        write(**changes)
        servers.append(Server(tmp_path / "server.log", {}, file))
        servers[0].write, servers[0].file = write, file
        return servers[0]

    yield start
    for server in servers:
        server.stop()


def test_keys_come_and_go_at_a_hangup(guarded):
    server = guarded()
    old = server.connect(**bearer("a"))
    assert server.refusal(**bearer("b"))[0].status_code == 401
    server.write(keys=secret_keys("b", "a"))
    assert "auth.key" in reload(server)
    server.connect(**bearer("b"))
    server.connect(**bearer("a"))
    old.lives()
    server.write(keys=secret_keys("b"))
    reload(server)
    assert server.refusal(**bearer("a"))[0].status_code == 401
    server.connect(**bearer("b"))
    # Whoever came by a key that was withdrawn has to go when it is looked at again.
    assert old.is_closed()[0] == 4401


def stats(server, key):
    """The status of a request that wants the scope `admin`."""
    request = urllib.request.Request(f"{server.origin}/api/v1/stats", headers={"Authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=SOON) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def test_keys_of_servers_change_at_a_hangup(guarded):
    def keys(**named):
        return "".join(f'[[api.key]]\nname = "{n}"\nkey = "{key}"\nscopes = ["admin"]\n' for n, key in named.items())

    old, new = "the-key-of-old-servers", "the-key-of-new-servers"
    server = guarded(more=keys(old=old))
    assert (stats(server, old), stats(server, new)) == (200, 401)
    server.write(more=keys(old=old, new=new))
    assert "api.key" in reload(server)
    assert (stats(server, old), stats(server, new)) == (200, 200)
    server.write(more=keys(new=new))
    log = reload(server)
    assert (stats(server, old), stats(server, new)) == (401, 200)
    assert old not in log and new not in log


def test_limits_of_addresses_change_at_a_hangup(guarded):
    server = guarded(per_address=1)
    first = server.connect(**bearer("a"))
    response, body = server.refusal(**bearer("a"))
    assert (response.status_code, body["code"]) == (429, "connection_limit")
    server.write(per_address=2)
    assert "limits.max_connections_per_address" in reload(server)
    server.connect(**bearer("a"))
    assert server.refusal(**bearer("a"))[1]["code"] == "connection_limit"
    server.write(handshakes=1)
    assert "limits.address_handshakes_per_second" in reload(server)
    refusals = [answer for answer in (attempt(server) for _ in range(5)) if answer]
    assert refusals and all(body["code"] == "rate_limited" for _, body in refusals)
    assert all(int(response.headers["Retry-After"]) >= 1 for response, _ in refusals)
    first.lives()


def attempt(server):
    """What refuses one more connection; `None` if it comes in."""
    try:
        server.connect(**bearer("a"))
    except InvalidStatus as refused:
        return refused.response, json.loads(refused.response.body)


def test_a_key_file_that_went_missing_leaves_everything_as_it_was(guarded, tmp_path):
    path = tmp_path / "key.pem"
    path.write_text((KEYS / "ec-p256.pub.pem").read_text())
    key = f'[[auth.key]]\nid = "e"\nalgorithm = "ES256"\npublic_key = "{path}"'
    by_key = {"--key": KEYS / "ec-p256.pem", "--algorithm": "ES256", "--kid": "e"}
    shown = {"Authorization": "Bearer " + token("ann", *(word for pair in by_key.items() for word in pair))}
    server = guarded(keys=key)
    server.connect(additional_headers=shown)
    path.unlink()
    server.write(keys=key + "\n" + secret_keys("b"), origin="https://two.example", per_address=1)
    log = reload(server)
    assert f"auth.key[0].public_key: {path}" in log and "the old one holds" in log
    server.connect(additional_headers=shown, origin="https://one.example")
    assert server.refusal(additional_headers=shown, origin="https://two.example")[0].status_code == 403
    assert server.refusal(**bearer("b"))[0].status_code == 401
    # Another key in the same file is another key.
    path.write_text((KEYS / "ec-other.pub.pem").read_text())
    assert "configuration loaded again" in reload(server)
    assert server.refusal(additional_headers=shown, origin="https://two.example")[0].status_code == 401


def certificate(folder, name):
    """Makes `cert.pem` and `key.pem` in place of those before; the certificate."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*command, *files, "-subj", f"/CN={name}", "-days", "30"], capture_output=True, check=True)
    return (folder / "cert.pem").read_text().strip()


def test_certificates_change_at_a_hangup_together_with_their_keys(guarded, tmp_path):
    first = certificate(tmp_path, "first.example")
    address = ("127.0.0.1", free_port())
    tls = f"""[tls]
listen = ["127.0.0.1:{address[1]}"]
reload_interval = "0s"
[[tls.certificate]]
certificate = "{tmp_path}/cert.pem"
key = "{tmp_path}/key.pem"
"""
    server = guarded(more=tls)

    def served():
        return ssl.get_server_certificate(address, timeout=SOON).strip()

    assert served() == first
    key = (tmp_path / "key.pem").read_text()
    second = certificate(tmp_path, "second.example")
    assert served() == first, "files alone change nothing"
    reload(server)
    assert served() == second
    # A key that is not the certificate's: nothing holds of all that has changed.
    (tmp_path / "key.pem").write_text(key)
    server.write(more=tls, origin="https://two.example")
    log = reload(server)
    assert "cannot be used with" in log and "the old one holds" in log
    assert served() == second
    assert server.refusal(origin="https://two.example", **bearer("a"))[0].status_code == 403
    checked = subprocess.run([BINARY, "check-config", "-c", server.file], capture_output=True, text=True, check=False)
    assert checked.returncode == 2 and "cannot be used with" in checked.stderr


TEN_PROBLEMS = """
[server]
shards = "many"
shard = 2
[auth]
mode = "requird"
[auth.jwt]
secret = "short"
[[auth.key]]
id = "x"
algorithm = "ES256"
public_key = "/none/key.pem"
[origin]
allowed = ["nowhere"]
[[tls.certificate]]
certificate = "/none/cert.pem"
key = "/none/key.pem"
[[namespace]]
[[namespace]]
pattern = "team:*"
[[api.key]]
name = "a"
key = "the same key for both"
[[api.key]]
name = "b"
key = "the same key for both"
[limitz]
burst = 3
"""


def test_check_config_finds_ten_problems_of_every_kind_at_once(tmp_path):
    file = tmp_path / "campanile.toml"
    file.write_text(TEN_PROBLEMS)
    command = [BINARY, "check-config", "-c", file]
    checked = subprocess.run(command, capture_output=True, text=True, timeout=SOON, check=False)
    assert (checked.returncode, checked.stdout) == (2, "")
    lines = checked.stderr.splitlines()
    for named in [
        "server.shards: expected", "server.shard: unknown option", "auth.mode: expected", "auth.jwt.secret: expected",
        "auth.key[0].public_key: /none/key.pem", "origin.allowed: expected", "tls.certificate[0].certificate: /none",
        "tls.certificate[0].key: /none", "never holds", "api.key[1].key", "limitz: unknown section",
    ]:  # fmt: skip
        assert sum(named in line for line in lines) == 1, (named, lines)
    assert "short" not in checked.stderr and "the same key for both" not in checked.stderr
