"""The files of deploy/ in the real nginx, HAProxy and Caddy, in front of the binary. Ports and timeouts are put in
place of theirs; all else is as it is shipped."""

import json
import os
import re
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress

import pytest
from conftest import ROOT, SOON, Server, free_port
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

DEPLOY = ROOT / "deploy"
#: Seconds of quiet after which the proxies of these tests cut a connection.
PROXY_TIMEOUT = 4
#: A server whose pings come sooner than that.
PINGS = {"HEARTBEAT__PING_PERIOD": "1s", "HEARTBEAT__PONG_WAIT": "30s"}


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
    """One of them on a port of its own, until the end of a `with`."""

    def __init__(self, folder, upstream, admin=0, file=None, tls=None):
        """`tls`: a PEM file with certificate and key, if it speaks TLS to clients."""
        self.port = free_port()
        self.tls = tls
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
        tls = f" ssl; ssl_certificate {self.tls}; ssl_certificate_key {self.tls}" if self.tls else ""
        site = put(
            (file or DEPLOY / "nginx/campanile.conf").read_text(),
            ("127.0.0.1:8080", f"127.0.0.1:{self.upstream}"),
            ("listen 80;", f"listen 127.0.0.1:{self.port}{tls};"),
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
        tls = f" ssl crt {self.tls} alpn http/1.1" if self.tls else ""
        text = put(
            text,
            (f"    bind {bind}\n", f"    bind 127.0.0.1:{self.port}{tls}\n"),
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


class Caddy(Proxy):
    name = "caddy"

    def command(self, file):
        assert file is None
        scheme, tls = ("https", f"tls {self.tls} {self.tls}") if self.tls else ("http", "")
        # Without an admin listener to ask it is taken to be up.
        asked = ("health_port 9090", f"health_port {self.admin}") if self.admin else ("health_", "# health_")
        site = put(
            (DEPLOY / "caddy/Caddyfile").read_text(),
            ("127.0.0.1:8080", f"127.0.0.1:{self.upstream}"),
            ("example.com {", f"{scheme}://127.0.0.1:{self.port} {{\n{tls}"),
            ("health_interval 2s", "health_interval 100ms"),
            asked,
        )
        path = self.folder / "Caddyfile"
        path.write_text("{\nadmin off\nauto_https disable_redirects\ndefault_bind 127.0.0.1\n}\n" + site)
        # It keeps what it makes below HOME.
        run = [program("caddy"), "run", "--config", path, "--adapter", "caddyfile"]
        return ["env", "-u", "XDG_DATA_HOME", "-u", "XDG_CONFIG_HOME", f"HOME={self.folder}", *run]


@pytest.fixture(params=[Nginx, HAProxy, Caddy])
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


@pytest.mark.parametrize("kind", [Nginx, HAProxy], indirect=True)
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
        headers = {
            "X-Forwarded-For": "6.6.6.6",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "evil.example",
            "Forwarded": "for=6.6.6.6",
        }
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
    # Two that say different things are both not believed: the client would have the proxy's own address.
    assert "\r\nforwarded:" not in head


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


#: Two clients; and the proxy, which alone is believed.
ONE, TWO, PROXY = "127.0.0.2", "127.0.0.3", "127.0.0.1"
TRUSTED = {"SERVER__TRUSTED_PROXIES": PROXY}
#: The ways in which the files of deploy/ name the client.
BY_PROXY_PROTOCOL = DEPLOY / "haproxy/haproxy-proxy-protocol.cfg"


def by_version_1(folder):
    """The same file with the older version of the header, which is text."""
    path = folder / "version-1.cfg"
    path.write_text(put(BY_PROXY_PROTOCOL.read_text(), ("send-proxy-v2", "send-proxy")))
    return path


@pytest.fixture(params=["nginx", "haproxy", "caddy", "proxy-v2", "proxy-v1"])
def trusted(request, tmp_path):
    """A server that believes the proxy before it, with the options of the test's marks."""
    protocol = {"SERVER__PROXY_PROTOCOL": "v1v2"} if request.param.startswith("proxy") else {}
    options = {"AUTH__MODE": "trust", "LOG__SECURITY_FILE": tmp_path / "security.jsonl"} | TRUSTED | protocol
    for mark in request.node.iter_markers("options"):
        options |= mark.kwargs
    kind = {"nginx": Nginx, "caddy": Caddy}.get(request.param, HAProxy)
    files = {"proxy-v2": BY_PROXY_PROTOCOL, "proxy-v1": by_version_1(tmp_path)}
    server = Server(tmp_path / "server.log", options, admin=f"127.0.0.1:{free_port()}")
    server.security = tmp_path / "security.jsonl"
    try:
        with kind(tmp_path, server.port, admin_port(server), file=files.get(request.param)) as proxy:
            server.port = proxy.port
            yield server
    finally:
        server.stop()


def admin_port(server):
    return int(server.command[server.command.index("--admin-listen") + 1].rsplit(":", 1)[1])


def addresses(server, user):
    """Where the server believes a user's connections to come from."""
    url = f"http://127.0.0.1:{admin_port(server)}/api/v1/users/{user}/connections"
    with urllib.request.urlopen(url, timeout=SOON) as answer:
        found = json.load(answer)["connections"]
    return [connection["remote_address"].rsplit(":", 1)[0] for connection in found]


def security_events(server):
    return [json.loads(line) for line in server.security.read_text().splitlines()]


def test_the_server_knows_the_clients_address(trusted):
    claim = {"X-Forwarded-For": "6.6.6.6"}
    trusted.join("ann", source_address=(ONE, 0), additional_headers=claim)
    trusted.join("bob", source_address=(TWO, 0))
    assert (addresses(trusted, "ann"), addresses(trusted, "bob")) == ([ONE], [TWO])
    refused, _ = trusted.refusal("eve", origin="http://elsewhere.example", source_address=(TWO, 0))
    assert refused.status_code == 403
    (event,) = security_events(trusted)
    assert (event["kind"], event["address"]) == ("refused", TWO), event


@pytest.mark.options(LIMITS__MAX_CONNECTIONS_PER_ADDRESS="1")
def test_addresses_are_counted_apart_behind_one_proxy(trusted):
    first = trusted.join("ann", source_address=(ONE, 0))
    trusted.join("bob", source_address=(TWO, 0))
    response, body = trusted.refusal("clara", source_address=(ONE, 0))
    assert (response.status_code, body["code"]) == (429, "connection_limit")
    first.close()
    deadline = time.monotonic() + SOON
    while not let_in(trusted, "clara", ONE):
        assert time.monotonic() < deadline, "the place of a connection that has gone is free"


def let_in(server, user, address):
    try:
        return server.join(user, source_address=(address, 0))
    except InvalidStatus:
        return None


def test_whoever_is_not_trusted_is_not_believed(proxied):
    """The same files, and a server to which nobody has said that a proxy is there."""
    proxied.join("ann", source_address=(ONE, 0))
    assert addresses(proxied, "ann") == [PROXY]


def test_a_page_is_of_the_same_origin_by_the_proxys_scheme(kind, tmp_path):
    pem = tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem", "-subj", "/CN=x", "-days", "3"]
    subprocess.run([*command, "-addext", "subjectAltName=IP:127.0.0.1"], capture_output=True, check=True)
    pem.write_text((tmp_path / "cert.pem").read_text() + (tmp_path / "key.pem").read_text())
    context = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    options = {"AUTH__MODE": "trust"} | TRUSTED
    server = Server(tmp_path / "server.log", options, admin=f"127.0.0.1:{free_port()}")
    try:
        with kind(tmp_path, server.port, admin_port(server), tls=pem) as proxy:
            url, own = f"wss://127.0.0.1:{proxy.port}/ws?user_id=ann", f"127.0.0.1:{proxy.port}"
            with connect(url, ssl=context, origin=f"https://{own}", legacy=False) as page:
                page.recv(timeout=SOON)
            for other in [f"http://{own}", "https://127.0.0.1", "https://elsewhere.example"]:
                with pytest.raises(InvalidStatus) as refused, connect(url, ssl=context, origin=other, legacy=False):
                    pytest.fail(f"{other} came in")
                assert refused.value.response.status_code == 403, other
    finally:
        server.stop()


@pytest.mark.parametrize("file", ["haproxy.cfg", "haproxy-proxy-protocol.cfg"])
def test_haproxy_sends_nobody_to_a_server_that_drains(tmp_path, file):
    protocol = {"SERVER__PROXY_PROTOCOL": "v1v2"} | TRUSTED if "protocol" in file else {}
    options = {"AUTH__MODE": "trust", "SHUTDOWN__DRAIN": "60s", "HEARTBEAT__WRITE_WAIT": "60s"} | protocol
    with ExitStack() as stack:
        servers = []
        for name in ["one", "two"]:
            (tmp_path / name).mkdir()
            log = tmp_path / name / "server.log"
            servers.append(Server(log, options, admin=f"127.0.0.1:{free_port()}"))
            stack.callback(servers[-1].process.wait)
            stack.callback(servers[-1].process.kill)
        one, two = servers
        text = (DEPLOY / "haproxy" / file).read_text().replace("inter 2s", "inter 100ms")
        (line,) = re.findall("^    server one .*\n", text, re.M)
        listen = re.search(r"server one (\S+) ", line).group(1)
        other = line.replace("one", "two").replace(listen, f"127.0.0.1:{two.port}")
        other = other.replace("port 9090", f"port {admin_port(two)}")
        control = tmp_path / "haproxy.sock"
        text = put(text, ("global\n", f"global\n    stats socket {control}\n"))
        (tmp_path / file).write_text(text + other)
        proxy = HAProxy(tmp_path, one.port, file=tmp_path / file, admin=admin_port(one))
        with proxy:
            wait_for(lambda: states(control) == {"one": 2, "two": 2})
            # Past the proxy, and it never answers a close: the server waits for it a while.
            raw = upgraded(one.port, b"PROXY TCP4 127.0.0.2 127.0.0.1 1 2\r\n" if protocol else b"")
            assert probe(admin_port(one)) == 200
            one.signal()
            wait_for(lambda: states(control) == {"one": 0, "two": 2})
            assert probe(admin_port(one)) == 503
            late = {f"late-{number}" for number in range(4)}
            for user in late:
                stack.enter_context(connect(proxy.url(user), legacy=False)).recv(timeout=SOON)
            assert late <= users(two)
            raw.close()


def wait_for(condition):
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def states(control):
    """The state of each server by HAProxy: 0 stopped, 2 running."""
    with socket.socket(socket.AF_UNIX) as asked:
        asked.connect(str(control))
        asked.sendall(b"show servers state\n")
        rows = [line.split() for line in asked.makefile().read().splitlines() if "campanile" in line]
    return {row[3]: int(row[5]) for row in rows}


def probe(port):
    """The status of /readyz; `None` if nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=SOON) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code
    except urllib.error.URLError:
        return None


def users(server):
    """Everybody who is connected, by name; a page may be empty and not the last."""
    names, cursor = set(), ""
    while cursor is not None:
        url = f"http://127.0.0.1:{admin_port(server)}/api/v1/users" + (f"?cursor={cursor}" if cursor else "")
        with urllib.request.urlopen(url, timeout=SOON) as answer:
            page = json.load(answer)
        names |= {user["user_id"] for user in page["users"]}
        cursor = page["next_cursor"]
    return names


def upgraded(port, before):
    """A WebSocket that never says anything more, not even to a close. `before`: sent first."""
    peer = socket.create_connection(("127.0.0.1", port))
    peer.sendall(before)
    head = f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    peer.sendall(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode())
    assert peer.recv(12) == b"HTTP/1.1 101"
    return peer
