"""What an operator does with a running server: SIGHUP, the admin listener, systemd, `campanile health`."""

import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import pytest
from conftest import BINARY, SOON, Server

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
    return re.search(r"admin listener: (http://\S+)", said(server, "admin listener: ")).group(1)


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
