"""`wss` and `https` of the binary: Python's ssl (OpenSSL), `openssl s_client`, and raw sockets."""

import http.client
import json
import os
import re
import select
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from authority import Authority
from conftest import SOON, Client, Server, free_port
from test_operations import reload, said
from websockets.sync.client import connect

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
#: The name of the first certificate, which is for whoever asks for no other.
DEFAULT, OTHER, WILD = "default.test", "other.test", "a.wild.test"


class Tunnel:
    """TLS for a client that reads and writes on threads of its own, which Python's ssl does not bear before
    3.13: one thread does it all, and the client has the plaintext end, `inner`."""

    def __init__(self, session):
        self.session = session
        self.inner, self.outer = socket.socketpair()
        threading.Thread(target=self.carry, daemon=True).start()

    def carry(self):
        try:
            while True:
                ready = [self.session] if self.session.pending() else []
                ready += select.select([self.session, self.outer], [], [], 0 if ready else None)[0]
                if self.session in ready:
                    # What is no application data (a ticket) may leave nothing to read for now.
                    self.session.settimeout(0)
                    try:
                        heard = self.session.recv(65536)
                    except ssl.SSLWantReadError:
                        heard = None
                    self.session.settimeout(SOON)
                    if heard == b"":
                        return
                    self.outer.sendall(heard or b"")
                if self.outer in ready:
                    if not (said_ := self.outer.recv(65536)):
                        return
                    self.session.sendall(said_)
        except OSError:
            # Either end is gone, and so is the other one then.
            pass
        finally:
            self.session.close()
            self.outer.close()


class TlsServer(Server):
    """The binary with `server.listen`, and `tls.listen` with the certificates of an authority of its own."""

    def __init__(self, folder, certificates, text="", admin="", **options):
        self.authority = Authority(folder)
        self.tls_port = free_port()
        file = folder / "campanile.toml"
        options = {"AUTH__MODE": "trust", "TLS__LISTEN": f"127.0.0.1:{self.tls_port}"} | options
        for name, hosts in certificates.items():
            chain, key = self.authority.issue(name, *hosts)
            text += f'[[tls.certificate]]\ncertificate = "{chain}"\nkey = "{key}"\n'
        file.write_text(text)
        super().__init__(folder / "server.log", options, file, admin)

    def raw(self):
        """TCP to the port that speaks TLS."""
        return socket.create_connection(("127.0.0.1", self.tls_port), timeout=SOON)

    def tls(self, name=DEFAULT, context=None, **arguments):
        """A TLS session, its handshake done."""
        context = context or self.authority.context()
        return context.wrap_socket(self.raw(), server_hostname=name, **arguments)

    def chat(self, user, name=DEFAULT, context=None, **arguments):
        """A client of the chat, who knows the server by this name."""
        session = self.tls(name, context)
        url = f"ws://{name}:{self.tls_port}/ws?user_id={user}"
        opened = connect(url, sock=Tunnel(session).inner, legacy=False, max_size=None, open_timeout=SOON,
                         close_timeout=2, **arguments)
        client = Client(self.sockets.enter_context(opened))
        client.session = session
        return client

    def serial(self, name=DEFAULT):
        """The number of the certificate that a new connection gets."""
        with self.tls(name) as session:
            return int(session.getpeercert()["serialNumber"], 16)

    def s_client(self, *arguments, name=DEFAULT, said=""):
        """What `openssl s_client` tells, and whether it is content. At security level 0 it lets through
        what it would not offer by itself."""
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.tls_port}", "-servername", name,
                   "-CAfile", self.authority.root, "-verify_hostname", name, *arguments]
        done = subprocess.run(command, input=said, capture_output=True, text=True, timeout=4 * SOON)
        return done.returncode == 0, done.stdout + done.stderr


CERTIFICATES = {"first": [DEFAULT, "127.0.0.1"], "second": [OTHER, "*.wild.test"]}


@pytest.fixture
def server(request, tmp_path):
    mark = request.node.get_closest_marker("options")
    server = TlsServer(tmp_path, CERTIFICATES, **(mark.kwargs if mark else {}))
    yield server
    server.stop()


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_a_chat_over_either_version(server, version):
    context = server.authority.context(version)
    ann, bob = server.chat("ann", context=context), server.chat("bob", context=context)
    wire = ann.session
    assert wire.version() == {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}[version]
    assert wire.selected_alpn_protocol() == "http/1.1"
    # One without TLS is in the same room.
    eve = server.join("eve")
    for size in [1, 1000, 30_000]:
        ann.send({"type": "chat", "content": "x" * size})
        for listener in [bob, eve]:
            assert listener.until("chat")["content"] == "x" * size
    for number in range(50):
        eve.send({"type": "chat", "content": str(number)})
    assert [bob.until("chat")["content"] for _ in range(50)] == [str(n) for n in range(50)]
    bob.close(4000)
    assert ann.until("presence", action="leave")["user_id"] == "bob"


def test_a_page_of_the_same_host_is_of_the_same_origin_and_one_without_tls_is_not(server):
    server.chat("ann", origin=f"https://{DEFAULT}:{server.tls_port}").lives()
    with pytest.raises(Exception, match="403"):
        server.chat("bob", origin=f"http://{DEFAULT}:{server.tls_port}")


def test_the_certificate_is_chosen_by_name_and_the_first_is_for_all_others(server):
    subject = {}
    context = server.authority.context()
    context.check_hostname = False
    for name in [DEFAULT, OTHER, WILD, "b.a.wild.test", "nobody.test", None]:
        with server.tls(name, context) as session:
            ((_, subject[name]),), = session.getpeercert()["subject"]
    assert subject == {DEFAULT: "first", OTHER: "second", WILD: "second", "b.a.wild.test": "first",
                       "nobody.test": "first", None: "first"}
    server.chat("ann", OTHER).lives()
    server.chat("bob", WILD).lives()


def test_a_client_refuses_a_wrong_name_and_a_strange_authority_and_the_server_goes_on(server, tmp_path):
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        server.tls("nobody.test")
    (tmp_path / "strange").mkdir()
    with pytest.raises(ssl.SSLCertVerificationError, match="self-signed|unable to get"):
        server.tls(context=Authority(tmp_path / "strange").context())
    server.chat("ann", "127.0.0.1").lives()


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_a_client_that_comes_back_is_known_by_its_ticket(server, version):
    context = server.authority.context(version)
    session = None
    for expected in [False, True, True]:
        with server.tls(context=context, session=session) as client:
            assert client.session_reused is expected
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            # Tickets of TLS 1.3 come with what is read.
            assert client.recv(4096).startswith(b"HTTP/1.1 200")
            session = client.session
            assert session.has_ticket
    # New certificates do not make it forgotten.
    server.authority.issue("first", DEFAULT)
    assert "tls.certificate" not in re.findall("error.*", reload(server))
    with server.tls(context=context, session=session) as client:
        assert client.session_reused


def test_no_other_protocol_than_http_1_1_is_agreed_to(server):
    context = server.authority.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    with server.tls(context=context) as client:
        assert client.selected_alpn_protocol() == "http/1.1"
    context.set_alpn_protocols(["h2"])
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        server.tls(context=context)
    context = ssl.create_default_context(cafile=server.authority.root)
    with server.tls(context=context) as client:
        assert client.selected_alpn_protocol() is None


def test_the_pages_and_the_api_on_the_same_port_with_keep_alive(tmp_path):
    # Without a word about who may come in it is in development, and has the chat page.
    key = '[[api.key]]\nname = "test"\nkey = "0123456789abcdef0123456789abcdef"\nscopes = ["publish", "rooms"]\n'
    server = TlsServer(tmp_path, CERTIFICATES, key)
    try:
        ann = server.chat("ann")
        client = http.client.HTTPSConnection(DEFAULT, context=server.authority.context())
        client.sock = server.tls()
        local = client.sock.getsockname()
        bearer = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef", "Content-Type": "application/json"}

        def ask(method, path, body=None, headers=bearer):
            client.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = client.getresponse()
            return answer.status, answer.read()

        for _ in range(3):
            status, body = ask("GET", "/healthz")
            assert status == 200, body
        status, body = ask("GET", "/openapi.json")
        assert status == 200 and len(body) > 20_000 and json.loads(body)["openapi"]
        status, body = ask("GET", "/api/v1/rooms")
        assert status == 200, body
        status, body = ask("POST", "/api/v1/broadcast", {"type": "announcement", "data": {"text": "x" * 20_000}})
        assert status in (200, 202), body
        assert ann.socket.recv(timeout=SOON)
        assert ask("GET", "/nowhere")[0] == 404
        assert client.sock.getsockname() == local, "it was one connection all the time"
        client.close()
    finally:
        server.stop()


@pytest.mark.parametrize("request_head", [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
    b"P", b"nonsense\n",
])
def test_plain_http_gets_a_clear_answer(server, request_head):
    with server.raw() as client:
        client.sendall(request_head)
        answer = b""
        while more := client.recv(4096):
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 "), answer
    assert json.loads(body)["code"] == "tls_required"


@pytest.mark.parametrize("opening", [b"\x00" * 100, b"\x16\x03\x01\xff\xff" + b"x" * 100, b"\x80\x2e\x01\x03\x01",
                                     b"\x16\x03\x01\x00\x05hello", b"\x17\x03\x03\x00\x02hi", b"\xff"])
def test_what_is_neither_tls_nor_text_is_cut(server, opening):
    with server.raw() as client:
        client.sendall(opening)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while more := client.recv(4096):
                answer += more
        except ConnectionResetError:
            pass
    # Nothing, or an alert.
    assert answer == b"" or (answer[0], len(answer)) == (0x15, 7), answer
    server.chat("ann").lives()


def exchange(server, how):
    """New certificates on disk; `how` makes the server look at them."""
    before = server.serial()
    ann = server.chat("ann")
    server.authority.issue("first", DEFAULT)
    how()
    deadline = time.monotonic() + SOON
    while server.serial() == before:
        assert time.monotonic() < deadline, server.log.read_text()
    ann.lives()
    bob = server.chat("bob")
    bob.send({"type": "chat", "content": "hello"})
    assert ann.until("chat")["content"] == "hello"
    return ann


def test_new_certificates_are_for_new_connections_after_a_hangup(server):
    exchange(server, lambda: reload(server))


@pytest.mark.options(TLS__RELOAD_INTERVAL="1s")
def test_new_certificates_are_found_by_themselves(server):
    exchange(server, lambda: None)


@pytest.mark.options(TLS__RELOAD_INTERVAL="0s")
def test_a_bad_file_changes_nothing_is_told_and_a_good_one_is_taken_again(server):
    before = server.serial()
    chain, key = (server.authority.folder / name for name in ["first.pem", "first.key"])
    good = chain.read_text(), key.read_text()
    for broken_chain, broken_key, told in [
        ("no certificate", good[1], "first.pem"),
        (good[0], "no key", "first.key"),
        (good[0][:-200], good[1], "first.pem"),
        # The key of another.
        (good[0], (server.authority.folder / "second.key").read_text(), "first.key"),
    ]:
        chain.write_text(broken_chain)
        key.write_text(broken_key)
        since = len(server.log.read_text())
        server.signal(signal.SIGHUP)
        log = said(server, told, since)
        assert "ERROR" in log, log
        assert server.serial() == before
        server.chat("ann").close()
    chain.unlink()
    since = len(server.log.read_text())
    server.signal(signal.SIGHUP)
    said(server, "first.pem", since)
    assert server.serial() == before
    server.authority.issue("first", DEFAULT)
    reload(server)
    assert server.serial() != before


@pytest.mark.options(TLS__RELOAD_INTERVAL="1s")
def test_a_half_written_pair_is_tried_again_until_it_is_whole(server):
    before = server.serial()
    chain = server.authority.folder / "first.pem"
    since = len(server.log.read_text())
    whole = chain.read_text()
    chain.write_text(whole[:300])
    assert "ERROR" in said(server, "certificates were not loaded again", since)
    assert server.serial() == before
    exchange(server, lambda: None)


# ---- versions and ciphers, as testssl.sh looks at them ----

LEVEL_0 = ["-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"]


def test_the_versions_that_are_spoken(server):
    for version, is_spoken in [("-tls1", False), ("-tls1_1", False), ("-tls1_2", True), ("-tls1_3", True)]:
        is_content, told = server.s_client(version, *LEVEL_0)
        assert is_content is is_spoken, told
        assert is_spoken or re.search("alert (protocol version|handshake failure)", told), told


def hello(version, cipher_suites):
    """A client's hello as of SSL 3.0 or TLS 1.0, which no library of today makes."""
    body = version + os.urandom(32) + b"\0" + struct.pack(">H", len(cipher_suites)) + cipher_suites + b"\x01\0"
    handshake = b"\x01" + struct.pack(">I", len(body))[1:] + body
    return b"\x16" + version + struct.pack(">H", len(handshake)) + handshake


def test_ssl_3_and_older_are_refused(server):
    suites = bytes.fromhex("002f0035000a00050004c013c014c02fc030")
    for version in [b"\x03\x00", b"\x03\x01", b"\x03\x02"]:
        with server.raw() as client:
            client.sendall(hello(version, suites))
            answer = client.recv(4096)
            # An alert, fatal: nothing in common.
            assert answer[0] == 0x15 and answer[5] == 2, answer
            assert client.recv(1) == b""
    with server.raw() as client:
        # SSL 2.0's.
        client.sendall(bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + b"x" * 16)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(4096)[:1] in (b"", b"\x15")


@pytest.mark.options(TLS__MIN_VERSION="1.3")
def test_only_1_3_if_that_is_the_oldest(server):
    is_content, told = server.s_client("-tls1_2")
    assert not is_content and "alert protocol version" in told, told
    with pytest.raises(ssl.SSLError, match="(?i)protocol.version"):
        server.tls(context=server.authority.context(V1_2))
    server.chat("ann", context=server.authority.context(V1_3)).lives()


def test_only_authenticated_ciphers_with_forward_secrecy(server):
    """All that OpenSSL has, one by one: no CBC, RC4, 3DES, NULL, EXPORT, none with an RSA key exchange."""
    listed = subprocess.run(["openssl", "ciphers", "-tls1_2", "-s", LEVEL_0[1]], capture_output=True, text=True)
    names = listed.stdout.strip().split(":")
    assert len(names) > 50, "there are many to refuse"
    spoken = []
    for name in names:
        is_content, told = server.s_client("-tls1_2", "-cipher", f"{name}:@SECLEVEL=0")
        if is_content:
            spoken.append(name)
        else:
            assert "alert handshake failure" in told or "no ciphers available" in told, told
    # The certificate has an ECDSA key.
    assert sorted(spoken) == ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384",
                              "ECDHE-ECDSA-CHACHA20-POLY1305"]
    for suite, is_spoken in [("TLS_AES_128_GCM_SHA256", True), ("TLS_AES_256_GCM_SHA384", True),
                             ("TLS_CHACHA20_POLY1305_SHA256", True), ("TLS_AES_128_CCM_SHA256", False),
                             ("TLS_AES_128_CCM_8_SHA256", False)]:
        is_content, told = server.s_client("-tls1_3", "-ciphersuites", suite)
        assert is_content is is_spoken, told


def test_the_chain_is_whole_and_strong(server):
    is_content, told = server.s_client("-showcerts", "-tls1_3")
    assert is_content and "Verify return code: 0 (ok)" in told, told
    assert told.count("BEGIN CERTIFICATE") == 2, "the intermediate comes with it"
    assert "Compression: NONE" in told
    is_content, told = server.s_client("-tls1_2")
    assert is_content and "Secure Renegotiation IS supported" in told and "Compression: NONE" in told, told
    assert "Extended master secret: yes" in told, told


def test_renegotiation_is_refused(server):
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-tls1_2", "-CAfile", server.authority.root],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    client.stdin.write("R\n")
    client.stdin.flush()
    told, _ = client.communicate(timeout=SOON)
    assert "RENEGOTIATING" in told and "no renegotiation" in told, told
    server.chat("ann").lives()


@pytest.mark.parametrize("suite", ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"])
def test_openssl_updates_its_keys_and_ours(server, suite):
    client = subprocess.Popen(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-tls1_3", "-ciphersuites", suite, "-msg",
         "-CAfile", server.authority.root, "-servername", DEFAULT],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0)
    told = ""

    def until(words, count):
        nonlocal told
        deadline = time.monotonic() + SOON
        while told.count(words) < count:
            assert select.select([client.stdout], [], [], deadline - time.monotonic())[0], told
            assert (heard := client.stdout.read(65536)), told
            told += heard.decode()

    with client:
        until("read R BLOCK", 1)
        # `K` asks for an update of ours as well, `k` does not.
        for number, command in enumerate(["K", "k", "K", "K", "k"], 1):
            client.stdin.write(f"{command}\n".encode())
            until("KEYUPDATE", number)
            client.stdin.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            until("HTTP/1.1 200", number)
        client.stdin.close()
        until("DONE", 1)
    assert len(re.findall(">>> .*KeyUpdate", told)) == 5, told
    assert len(re.findall("<<< .*KeyUpdate", told)) == 3, told
    server.chat("ann").lives()


def test_early_data_is_not_taken(server, tmp_path):
    """What comes before the handshake is done could be said once more by anybody."""
    ticket, early = tmp_path / "ticket", tmp_path / "early"
    early.write_text("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
    is_content, told = server.s_client("-tls1_3", "-sess_out", ticket, "-ign_eof",
                                       said="GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert ticket.exists(), told
    assert "Max Early Data: 0" in told, told
    _, told = server.s_client("-tls1_3", "-sess_in", ticket, "-early_data", early)
    assert "Early data was accepted" not in told, told


def test_handshakes_are_counted_by_what_became_of_them(tmp_path):
    port = free_port()
    server = TlsServer(tmp_path, CERTIFICATES, admin=f"127.0.0.1:{port}", LIMITS__HANDSHAKE_TIMEOUT="1s")

    def counted(name):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SOON) as answer:
            lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if line.startswith(name)]
        return sum(float(value) for _, value in lines)

    def comes_to(name, expected):
        deadline = time.monotonic() + SOON
        while (found := counted(name)) != expected:
            assert time.monotonic() < deadline, f"{name}: {found}, not {expected}"
            time.sleep(0.05)

    failed = "campanile_tls_handshakes_failed_total"
    try:
        context = server.authority.context(V1_3)
        session = None
        for _ in range(3):
            with server.tls(context=context, session=session) as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                client.recv(4096)
                session = client.session
        comes_to("campanile_tls_handshakes_total", 3)
        comes_to("campanile_tls_handshakes_resumed_total", 2)
        with server.raw() as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert client.recv(4096)
        comes_to(f'{failed}{{reason="plain"}}', 1)
        with pytest.raises(ssl.SSLError):
            server.tls(context=ssl.create_default_context())
        comes_to(f'{failed}{{reason="refused"}}', 1)
        with server.raw() as client:
            client.sendall(b"\x16\x03\x01\x00\x05hello")
            client.recv(4096)
        comes_to(f'{failed}{{reason="protocol"}}', 1)
        with server.raw():
            comes_to(f'{failed}{{reason="unfinished"}}', 1)
        people = [server.chat(f"user-{number}") for number in range(20)]
        comes_to("campanile_tls_handshakes_total", 23)
        deadline = time.monotonic() + SOON
        shards = range(os.cpu_count())
        while sum(counted(f'campanile_memory_bytes{{shard="{n}",kind="tls"}}') for n in shards) < 20 * 300:
            assert time.monotonic() < deadline
        for person in people:
            person.lives()
    finally:
        server.stop()


# ---- hostile and slow ----

def by_bytes(server, version, size):
    """A handshake and a request, sent in pieces of `size`; the answer."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = server.authority.context(version).wrap_bio(incoming, outgoing, server_hostname=DEFAULT)
    with server.raw() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def say():
            waiting = outgoing.read()
            for start in range(0, len(waiting), size):
                client.send(waiting[start:start + size])

        def until_done(act):
            while True:
                try:
                    return act()
                except ssl.SSLWantReadError:
                    say()
                    heard = client.recv(65536)
                    assert heard, "cut"
                    incoming.write(heard)

        until_done(session.do_handshake)
        session.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        return until_done(lambda: session.read(4096))


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_handshakes_may_come_in_pieces_of_any_size(server, version, size):
    assert by_bytes(server, version, size).startswith(b"HTTP/1.1 200")


@pytest.mark.options(LIMITS__HANDSHAKE_TIMEOUT="1s")
def test_a_handshake_that_takes_too_long_is_cut(server):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = server.authority.context().wrap_bio(incoming, outgoing, server_hostname=DEFAULT)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    opening = outgoing.read()
    for said_first in [b"", opening[:1], opening[:-1], opening]:
        with server.raw() as client:
            client.sendall(said_first)
            while client.recv(65536):
                pass
    # One that is done, and asks for nothing.
    with server.tls() as client:
        assert client.recv(4096)[:12] in (b"", b"HTTP/1.1 408")
    # Drop by drop, it takes too long all the same.
    with server.raw() as client, pytest.raises(ConnectionError):
        for byte in opening * 1000:
            client.send(bytes([byte]))
            time.sleep(0.02)
    server.chat("ann").lives()


def descriptors(server):
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


@pytest.mark.options(LIMITS__ADDRESS_HANDSHAKES_PER_SECOND="0", LIMITS__MAX_CONNECTIONS_PER_ADDRESS="0")
def test_500_handshakes_that_are_broken_off_leave_nothing(server):
    ann = server.chat("ann")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = server.authority.context().wrap_bio(incoming, outgoing, server_hostname=DEFAULT)
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    opening = outgoing.read()
    before = descriptors(server)
    for number in range(500):
        with server.raw() as client:
            client.sendall(opening[:1 + number * len(opening) // 500])
            if number % 3 == 0:
                # A reset.
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif number % 3 == 1:
                client.shutdown(socket.SHUT_WR)
                try:
                    while client.recv(65536):
                        pass
                except ConnectionResetError:
                    pass
    deadline = time.monotonic() + SOON
    while descriptors(server) > before:
        assert time.monotonic() < deadline, f"{descriptors(server)} descriptors, {before} before"
        time.sleep(0.01)
    ann.lives()
    server.chat("bob").lives()


def test_a_record_that_was_tampered_with_ends_the_connection_with_an_alert(server):
    for version in [V1_2, V1_3]:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = server.authority.context(version).wrap_bio(incoming, outgoing, server_hostname=DEFAULT)
        with server.raw() as client:
            while True:
                try:
                    session.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    client.sendall(outgoing.read())
                    incoming.write(client.recv(65536))
            client.sendall(outgoing.read())
            session.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
            record = bytearray(outgoing.read())
            record[-1] ^= 1
            client.sendall(record)
            with pytest.raises(ssl.SSLError, match="(?i)bad.record.mac"):
                while heard := client.recv(65536):
                    incoming.write(heard)
                    try:
                        pytest.fail(f"heard {session.read(4096)}")
                    except ssl.SSLWantReadError:
                        pass


def proxied(client, port):
    """The header that a proxy sends of a client, version 2."""
    addresses = socket.inet_aton(client) + socket.inet_aton("192.0.2.1") + struct.pack(">HH", port, 443)
    return b"\r\n\r\n\0\r\nQUIT\n" + b"\x21\x11" + struct.pack(">H", len(addresses)) + addresses


@pytest.mark.options(SERVER__PROXY_PROTOCOL="v1v2", SERVER__TRUSTED_PROXIES="127.0.0.0/8")
@pytest.mark.parametrize("header", [proxied("198.51.100.7", 4711), b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n"])
def test_a_proxys_header_comes_before_tls(server, header):
    with server.raw() as wire:
        wire.sendall(header)
        session = server.authority.context().wrap_socket(wire, server_hostname=DEFAULT)
        with connect(server.url("ann"), sock=Tunnel(session).inner, legacy=False) as opened:
            Client(opened).lives()
    # Without it, even good TLS is cut, and so is a header inside of TLS.
    with pytest.raises((ssl.SSLError, ConnectionError)):
        server.tls()
    log = said(server, "security")
    assert "127.0.0.1" in log


def test_a_proxys_header_is_nothing_to_a_server_that_expects_none(server):
    with server.raw() as client:
        client.sendall(b"PROXY TCP4 198.51.100.7 192.0.2.1 4711 443\r\n")
        assert b"tls_required" in client.recv(4096)
