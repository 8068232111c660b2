"""The files of deploy/ in the real nginx and HAProxy, in front of the binary. Ports and timeouts are put in
place of theirs; all else is as it is shipped."""

import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress

import pytest
from conftest import ROOT, SOON, Server
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

DEPLOY = ROOT / "deploy"
#: Seconds of quiet after which the proxies of these tests cut a connection.
PROXY_TIMEOUT = 4
#: A server whose pings come sooner than that.
PINGS = {"HEARTBEAT__PING_PERIOD": "1s", "HEARTBEAT__PONG_WAIT": "30s"}


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def program(name):
    """Debian keeps servers where an ordinary user's PATH does not look."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    assert found, f"{name} is not installed; scripts/test python installs it"
    return found


def put(text, *replacements):
    """Every replacement finds what it replaces: a file that has changed is noticed."""
    for old, new in replacements:
        assert old in text, f"{old!r} is not in the file any more"
        text = text.replace(old, new)
    return text


class Proxy:
    """nginx or HAProxy on a port of its own, until the end of a `with`."""

    def __init__(self, folder, upstream, admin=0, file=None):
        self.port = free_port()
        self.folder, self.upstream, self.admin = folder, upstream, admin
        self.log = folder / f"{self.name}.log"
        with self.log.open("w") as out:
            self.process = subprocess.Popen(self.command(file), stdin=subprocess.DEVNULL, stdout=out, stderr=out)

    def __enter__(self):
        deadline = time.monotonic() + SOON
        while True:
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return self
            except ConnectionRefusedError:
                time.sleep(0.01)

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(SOON)

    def url(self, user=None, path="/ws"):
        return f"ws://127.0.0.1:{self.port}{path}" + (f"?user_id={user}" if user else "")


class Nginx(Proxy):
    name = "nginx"

    def command(self, file):
        site = put(
            (file or DEPLOY / "nginx/campanile.conf").read_text(),
            ("127.0.0.1:8080", f"127.0.0.1:{self.upstream}"),
            ("listen 80;", f"listen 127.0.0.1:{self.port};"),
            ("_timeout 90s", f"_timeout {PROXY_TIMEOUT}s"),
        )
        (self.folder / "site.conf").write_text(site)
        temporary = "".join(
            f"{kind}_temp_path {self.folder}/{kind};" for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        )
        main = self.folder / "nginx.conf"
        main.write_text(
            f"user root;daemon off;pid {self.folder}/nginx.pid;error_log stderr;events {{}}"
            f"http {{ access_log off; {temporary} include {self.folder}/site.conf; }}"
        )
        return [program("nginx"), "-p", self.folder, "-e", "stderr", "-c", main]


class HAProxy(Proxy):
    name = "haproxy"

    def command(self, file):
        text = (file or DEPLOY / "haproxy/haproxy.cfg").read_text()
        bind = re.search(r"^    bind (:\d+)$", text, re.M).group(1)
        upstream = re.search(r"server one (\S+) ", text).group(1)
        text = put(
            text,
            (f"    bind {bind}\n", f"    bind 127.0.0.1:{self.port}\n"),
            (upstream, f"127.0.0.1:{self.upstream}"),
            # What a tester's limit of open files allows.
            ("maxconn 200000", "maxconn 500"),
            ("timeout client 90s", f"timeout client {PROXY_TIMEOUT}s"),
            ("timeout server 90s", f"timeout server {PROXY_TIMEOUT}s"),
            # Without an admin listener to ask it is taken to be up.
            *([("port 9090", f"port {self.admin}")] if self.admin else [(" check addr 127.0.0.1 port 9090", "")]),
        )
        if "timeout tunnel" in text:
            text = put(text, ("timeout tunnel 90s", f"timeout tunnel {PROXY_TIMEOUT}s"))
        path = self.folder / "haproxy.cfg"
        path.write_text(text)
        return [program("haproxy"), "-db", "-f", path]


@pytest.fixture(params=[Nginx, HAProxy])
def kind(request):
    return request.param


@pytest.fixture
def proxied(kind, tmp_path, request):
    """A server with the options of the test's marks, and a proxy before it."""
    options = {"AUTH__MODE": "trust"}
    for mark in request.node.iter_markers("options"):
        options |= mark.kwargs
    admin = free_port()
    server = Server(tmp_path / "server.log", options, admin=f"127.0.0.1:{admin}")
    try:
        with kind(tmp_path, server.port, admin) as proxy:
            # All that opens a connection goes through the proxy.
            server.port = proxy.port
            yield server
    finally:
        server.stop()


def test_a_chat_goes_through(proxied):
    ann, bob = proxied.join_all("ann", "bob")
    ann.send({"type": "chat", "content": "hello"})
    assert bob.until("chat")["content"] == "hello"
    # A page of the name that the proxy was asked by is of the same origin.
    page = proxied.join("clara", origin=proxied.origin)
    page.lives()
    assert proxied.refusal("dave", origin="http://elsewhere.example")[0].status_code == 403


@pytest.mark.options(LIMITS__MAX_MESSAGE_SIZE="1MiB", LIMITS__QUEUE_BYTES="4MiB", LIMITS__TOPIC_WINDOW_BYTES="4MiB",
                     LIMITS__MESSAGES_PER_SECOND="0")
def test_large_messages_come_whole_and_in_order(proxied):
    ann, bob = proxied.join_all("ann", "bob")
    for size in [1, 125, 126, 65_535, 65_536, 900_000]:
        ann.send({"type": "chat", "content": "x" * size})
        assert len(bob.until("chat")["content"]) == size


def test_refusals_and_close_codes_come_through(proxied):
    for _ in range(5):
        proxied.join("ann")
    response, body = proxied.refusal("ann")
    assert (response.status_code, body["code"]) == (429, "connection_limit")
    bob = proxied.join("bob")
    bob.send("x" * 40_000)
    assert bob.is_closed()[0] == 1009
    clara = proxied.join("clara")
    clara.close(4242)
    with pytest.raises(ConnectionClosed) as closed:
        clara.socket.recv(timeout=SOON)
    assert closed.value.rcvd.code == 4242, "the server's answer to it"


@pytest.mark.options(**PINGS)
def test_pings_keep_a_quiet_connection_alive_beyond_the_proxys_timeout(proxied):
    ann = proxied.join("ann")
    with pytest.raises(TimeoutError):
        ann.frame(2 * PROXY_TIMEOUT)
    ann.lives()


def test_without_pings_in_time_the_proxy_cuts_a_quiet_connection(proxied):
    """That is why its timeout has to be longer than the period of pings."""
    ann = proxied.join("ann")
    with pytest.raises(ConnectionClosed):
        ann.frame(3 * PROXY_TIMEOUT + SOON)


def test_a_server_that_drains_takes_leave_through_the_proxy(proxied):
    clients = proxied.join_all("ann", "bob")
    proxied.signal()
    for client in clients:
        code, reason = client.is_closed()
        assert code == 1001 and "retry_in_ms=" in reason
    assert proxied.exit_code() == 0
    with pytest.raises(Exception) as refused:
        proxied.open("ann")
    # 502 or 503 of the proxy: nobody is there.
    assert re.search("50[23]", str(refused.value)), refused.value


def overheard(bytes_until):
    """A server that takes one connection and keeps what it says: its port, and what it has heard."""
    listener = socket.create_server(("127.0.0.1", 0))
    heard = []

    def listen():
        listener.settimeout(SOON)
        # What opens and closes, or is reset, is a proxy being tried.
        while not heard:
            peer, _ = listener.accept()
            with peer, suppress(ConnectionError):
                peer.settimeout(SOON)
                text = b""
                while not bytes_until(text) and (more := peer.recv(65536)):
                    text += more
                if bytes_until(text):
                    heard.append(text)

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    return listener, heard, thread


def test_the_client_is_named_and_what_it_claims_is_not_believed(kind, tmp_path):
    listener, heard, thread = overheard(lambda text: b"\r\n\r\n" in text)
    with listener, kind(tmp_path, listener.getsockname()[1]) as proxy:
        headers = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
        with pytest.raises(Exception):
            connect(proxy.url(), additional_headers=headers, open_timeout=2 * PROXY_TIMEOUT)
        thread.join(SOON)
        port = proxy.port
    (request,) = heard
    head = request.decode().lower()
    assert "upgrade: websocket\r\n" in head
    assert "connection: upgrade\r\n" in head
    assert f"host: 127.0.0.1:{port}\r\n" in head
    assert head.count("x-forwarded-proto:") == 1 and "x-forwarded-proto: http\r\n" in head
    assert head.count("x-forwarded-host:") == 1 and f"x-forwarded-host: 127.0.0.1:{port}\r\n" in head
    # The last address is the proxy's own word; it is read from right to left.
    assert head.count("x-forwarded-for:") == 1
    assert re.search(r"x-forwarded-for: (6\.6\.6\.6, )?127\.0\.0\.1\r\n", head), head


def test_haproxy_names_the_client_by_the_proxy_protocol(tmp_path):
    listener, heard, thread = overheard(lambda text: len(text) > 28)
    file = DEPLOY / "haproxy/haproxy-proxy-protocol.cfg"
    with listener, HAProxy(tmp_path, listener.getsockname()[1], file=file) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            address = client.getsockname()
            client.sendall(b"these are the client's bytes")
            thread.join(SOON)
    (text,) = heard
    signature, kind_of, family, length = struct.unpack(">12sBBH", text[:16])
    assert signature == b"\r\n\r\n\0\r\nQUIT\n"
    assert (kind_of, family, length) == (0x21, 0x11, 12), "version 2, PROXY, TCP over IPv4"
    source, port = socket.inet_ntoa(text[16:20]), struct.unpack(">H", text[24:26])[0]
    assert (source, port) == address
    assert text[28:] == b"these are the client's bytes"
