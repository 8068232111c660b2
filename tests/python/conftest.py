"""A server of its own for every test, and clients that say what they expect.

CAMPANILE_BIN names the binary; without it, target/debug/campanile.
"""

import json
import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("CAMPANILE_BIN", ROOT / "target/debug/campanile")
#: Seconds for whatever ought to happen at once; long, since machines that run tests are busy.
SOON = 5
#: Seconds in which a thing that must not happen would have happened.
QUIET = 0.25


def payload(frame):
    """What a frame says, wherever its profile has it."""
    inner = frame.get("data", frame.get("message"))
    return inner if isinstance(inner, dict) else frame


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Client:
    """One connection of one user. Frames are dicts."""

    def __init__(self, socket, in_room=True):
        """`in_room`: opening joins a room, and the list of its users follows the welcome."""
        self.socket = socket
        self.welcome = self.frame()
        self.snapshot = self.frame() if in_room else None
        self.user = payload(self.welcome).get("user_id")

    def send(self, frame):
        """Sends a dict as JSON; a str or bytes as it is."""
        self.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)

    def frame(self, timeout=SOON):
        """The next frame."""
        frame = json.loads(self.socket.recv(timeout=timeout))
        assert isinstance(frame, dict), frame
        return frame

    def until(self, message_type, **members):
        """The next frame of this type with these members; what comes before it is dropped."""
        deadline = time.monotonic() + SOON
        while True:
            frame = self.frame(deadline - time.monotonic())
            if frame["type"] == message_type and members.items() <= frame.items():
                return frame

    def answer(self, frame):
        """Sends a frame, and returns the next that is not about other people."""
        self.send(frame)
        while (answer := self.frame())["type"] == "presence":
            pass
        return answer

    def reply(self, frame):
        """Sends a frame with an `id`, and returns what answers it; what comes before it is dropped."""
        self.send(frame)
        while (answer := self.frame()).get("id") != frame["id"]:
            pass
        return answer

    def rpc(self, method, **params):
        """Calls a method of a server with the profile `v1` or `room`; its result."""
        answer = self.reply({"type": "rpc", "id": "call", "data": {"method": method, "params": params}})
        assert answer["type"] == "rpc", answer
        return answer["data"]["result"]

    def hears_nothing(self):
        """Nothing comes, and the connection lives."""
        with pytest.raises(TimeoutError):
            pytest.fail(f"heard {self.frame(QUIET)}")
        self.lives()

    def lives(self):
        """A ping is answered."""
        assert self.answer({"type": "ping", "id": "alive?"})["id"] == "alive?"

    def is_closed(self):
        """Waits for the end of the connection; close code and reason that the server gave."""
        deadline = time.monotonic() + SOON
        while True:
            try:
                self.socket.recv(timeout=deadline - time.monotonic())
            except ConnectionClosed as closed:
                assert closed.rcvd is not None, "ended without a close frame"
                return closed.rcvd.code, closed.rcvd.reason

    def close(self, code=1000):
        self.socket.close(code)


class Server:
    """The binary, serving on a free port."""

    def __init__(self, log, options, file=None, admin=""):
        """`options`: without the prefix of variables. `file`: a configuration file. `admin`: the address
        of the admin listener."""
        self.port = free_port()
        self.log = log
        self.sockets = ExitStack()
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CAMPANILE_")}
        self.environment = inherited | {f"CAMPANILE_{k}": str(v) for k, v in options.items()}
        self.command = [BINARY, "serve", "--listen", f"127.0.0.1:{self.port}", "--admin-listen", admin]
        if file:
            self.command += ["--config", file]
        self.start()

    def start(self):
        with self.log.open("w") as out:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self.environment,
                # What it keeps is the test's.
                cwd=self.log.parent,
            )
        # By then it takes signals, too; it accepts connections somewhat earlier.
        deadline = time.monotonic() + SOON
        while "listening on ws://" not in self.log.read_text():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise AssertionError(f"did not start:\n{self.log.read_text()}")
            time.sleep(0.01)

    def restart(self, number=signal.SIGTERM):
        """Ends it by this signal, and begins anew on the same port."""
        self.signal(number)
        assert self.exit_code() == (-number if number == signal.SIGKILL else 0), self.log.read_text()
        deadline = time.monotonic() + SOON
        while True:
            try:
                return self.start()
            except AssertionError:
                # The kernel closes the sockets of a ring somewhat after the end of a process that was killed.
                if "Address already in use" not in self.log.read_text() or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def tcp(self):
        """A bare TCP connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SOON)

    @property
    def origin(self):
        """That of a page of this server."""
        return f"http://127.0.0.1:{self.port}"

    def url(self, user=None, path="/ws", query=None):
        query = ({"user_id": user} if user else {}) | (query or {})
        end = "?" + urlencode(query, quote_via=quote) if query else ""
        return f"ws://127.0.0.1:{self.port}{path}{end}"

    def open(self, user=None, path="/ws", query=None, **arguments):
        """A WebSocket; `InvalidStatus` if it is refused."""
        url = self.url(user, path, query)
        arguments = {"max_size": None, "open_timeout": SOON, "close_timeout": 2} | arguments
        return self.sockets.enter_context(connect(url, legacy=False, **arguments))

    def join(self, user=None, **arguments):
        """A client that has had its welcome and the user list."""
        return Client(self.open(user, **arguments))

    def join_room(self, room, user, **arguments):
        """A client of the room that its path names, of the kind that sends an Origin."""
        return self.join(user, path=f"/ws/{quote(room, safe='')}", **({"origin": self.origin} | arguments))

    def connect(self, user=None, path="/v1/connect", **arguments):
        """A client that has had its welcome, and is in no room."""
        return Client(self.open(user, path, **arguments), in_room=False)

    def join_all(self, *users):
        """A client for each user, when every one knows of all the others."""
        clients = [self.join(user) for user in users]
        for index, client in enumerate(clients):
            for later in clients[index + 1 :]:
                client.until("presence", action="join", user_id=later.user)
        return clients

    def refusal(self, user=None, **arguments):
        """The HTTP response that refuses an upgrade, and its JSON body."""
        with pytest.raises(InvalidStatus) as refused:
            self.open(user, **arguments)
        response = refused.value.response
        return response, json.loads(response.body)

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def exit_code(self, timeout=SOON):
        """Waits for the end of the process."""
        return self.process.wait(timeout)

    def stop(self):
        """Every test ends with this: an orderly end, and no panic on the way."""
        try:
            self.sockets.close()
            if self.process.poll() is None:
                self.signal()
                assert self.exit_code() == 0, self.log.read_text()
        finally:
            self.process.kill()
            self.process.wait()
        assert "panicked" not in self.log.read_text()


@pytest.fixture
def server(request, tmp_path):
    """A server that believes `?user_id=`, with the options and the file of the test's marks."""
    options = {"AUTH__MODE": "trust"}
    for mark in request.node.iter_markers("options"):
        options |= mark.kwargs
    file = None
    if mark := request.node.get_closest_marker("config"):
        file = tmp_path / "campanile.toml"
        (text,) = mark.args
        file.write_text(text.replace("{folder}", str(tmp_path)))
    server = Server(tmp_path / "server.log", options, file)
    yield server
    server.stop()


@pytest.fixture
def start(tmp_path):
    """Starts servers with options and configuration files of the test's own; all end with it."""
    with ExitStack() as servers:

        def start(options=(), config=None, admin=""):
            number = len(list(tmp_path.glob("*.log")))
            file = None
            if config is not None:
                file = tmp_path / f"campanile-{number}.toml"
                file.write_text(config.replace("{folder}", str(tmp_path)))
            server = Server(tmp_path / f"server-{number}.log", dict(options), file, admin)
            server.file = file
            servers.callback(server.stop)
            return server

        yield start


@pytest.fixture
def web():
    """Starts web servers whose answers the test sets."""
    from tokens import Web

    with ExitStack() as servers:

        def web(body=None):
            server = Web(body)
            servers.callback(server.close)
            return server

        yield web
