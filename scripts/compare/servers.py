"""The servers: how each is built, started and named."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PEERS = ROOT / "benches/peers"
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve()
BUILT = TARGET / "peers"


class Unavailable(Exception):
    """A server cannot be measured here, and why."""


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Runs a build. What it says is shown only if it fails."""
    shown = " ".join(str(word) for word in command)
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"{shown} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def output(*command: str | Path) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@dataclass
class Server:
    """`apps`: what it can do. `principal`: it is measured in every run, the others in the first ones
    only. `trial`: it is quick enough to build for a trial."""

    id: str
    label: str
    apps: tuple[str, ...] = ("echo", "broadcast")
    principal: bool = False
    trial: bool = False
    version: str = field(default="", init=False)

    def build(self, trial: bool) -> None:
        """Builds it and finds out its version. Errors: Unavailable."""

    def command(self, app: str, port: int, rooms: int) -> list[str | Path]:
        raise NotImplementedError


class Campanile(Server):
    profile = "release"

    def build(self, trial: bool) -> None:
        self.profile = "debug" if trial else "release"
        run("cargo", "build", "--quiet", *([] if trial else ["--release"]), "--bin", "campanile",
            "--example", "echo", "--example", "broadcast")
        self.version = output(self.program(), "--version").split()[-1]

    def program(self) -> Path:
        return TARGET / self.profile / "campanile"

    def command(self, app: str, port: int, rooms: int) -> list[str | Path]:
        if app == "chat":
            return [self.program(), "serve", "-c", self.configure(port, rooms)]
        example = TARGET / self.profile / "examples" / app
        return [example, "--listen", f"127.0.0.1:{port}", "--shards", "1"]

    @staticmethod
    def configure(port: int, rooms: int) -> Path:
        """Writes a configuration with a route for each room, no rates, and authentication and metrics on;
        for all else the defaults."""
        text = f'[server]\nlisten = ["127.0.0.1:{port}"]\nadmin_listen = "127.0.0.1:0"\nshards = 1\n\n'
        # As fast as it goes, which is more than one client may send otherwise.
        text += "[limits]\nmessages_per_second = 0\n\n[messaging]\necho_to_sender = true\n"
        text += '\n[store]\npath = ""\n'
        # Its clients have no token and are guests.
        text += f'\n[auth]\nmode = "optional"\n\n[auth.jwt]\nsecret = "{"0" * 64}"\n'
        for room in range(rooms):
            text += f'\n[[route]]\npath = "/ws/{room}"\nroom = "{room}"\n'
        BUILT.mkdir(parents=True, exist_ok=True)
        path = BUILT / "chat.toml"
        path.write_text(text)
        return path


class Earlier(Server):
    """Campanile at another commit, built and started as that commit says."""

    def __init__(self, commit: str):
        commit = output("git", "-C", ROOT, "rev-parse", "--short=9", f"{commit}^{{commit}}")
        super().__init__("before", f"Campanile at {commit}", EVERYTHING, principal=True, trial=True)
        self.commit, self.home = commit, BUILT / commit

    def build(self, trial: bool) -> None:
        tree = self.home / "tree"
        if not tree.exists():
            tree.mkdir(parents=True)
            archive = subprocess.run(["git", "-C", ROOT, "archive", self.commit], capture_output=True, check=True)
            subprocess.run(["tar", "--extract", "--directory", tree], input=archive.stdout, check=True)
        here = os.environ["CARGO_TARGET_DIR"]
        os.environ["CARGO_TARGET_DIR"] = str(self.home / "target")
        try:
            path = tree / "scripts/compare/servers.py"
            spec = importlib.util.spec_from_file_location(f"servers_{self.commit}", path)
            theirs = importlib.util.module_from_spec(spec)
            # Where a dataclass looks for the module that it is defined in.
            sys.modules[spec.name] = theirs
            spec.loader.exec_module(theirs)
            self.server = theirs.CAMPANILE
            self.server.build(trial)
        finally:
            os.environ["CARGO_TARGET_DIR"] = here
        self.version = self.commit

    def command(self, app: str, port: int, rooms: int) -> list[str | Path]:
        return self.server.command(app, port, rooms)


class UWebSockets(Server):
    def build(self, trial: bool) -> None:
        sources = [os.environ.get(name) for name in ("UWEBSOCKETS_DIR", "USOCKETS_DIR")]
        if not all(sources):
            raise Unavailable("UWEBSOCKETS_DIR and USOCKETS_DIR, its source folders, are not given")
        sources = [Path(source).resolve() for source in sources]
        run(PEERS / "uwebsockets/build", *sources, BUILT / "uwebsockets")
        names = ("uWebSockets", "uSockets")
        self.version = ", ".join(f"{name} {self.commit(path)}" for name, path in zip(names, sources))

    @staticmethod
    def commit(source: Path) -> str:
        if not (source / ".git").exists():
            return "of unknown version"
        return output("git", "-C", source, "describe", "--tags", "--always", "--dirty")

    def command(self, app: str, port: int, rooms: int) -> list[str | Path]:
        return [BUILT / "uwebsockets/uwebsockets", "--port", str(port), "--app", app]


@cache
def npm(trial: bool) -> None:
    if not shutil.which("npm"):
        raise Unavailable("npm is not installed")
    omit = ["--omit=optional"] if trial else []
    run("npm", "ci", "--silent", "--no-audit", "--no-fund", *omit, cwd=PEERS / "javascript")


class Bun(Server):
    program = PEERS / "javascript/node_modules/bun/bin/bun.exe"

    def build(self, trial: bool) -> None:
        npm(trial)
        if not self.program.exists():
            raise Unavailable("npm has no binary of Bun for this machine")
        self.version = output(self.program, "--version")

    def command(self, app: str, port: int, rooms: int) -> list[str | Path]:
        return [self.program, PEERS / "javascript/bun.ts", "--port", str(port), "--app", app]


class Node(Server):
    def build(self, trial: bool) -> None:
        if not shutil.which("node"):
            raise Unavailable("Node.js is not installed")
        npm(trial)
        script = "console.log(require('./package.json').version)"
        module = PEERS / "javascript/node_modules/ws"
        done = subprocess.run(["node", "-e", script], cwd=module, capture_output=True, text=True, check=True)
        self.version = f"{done.stdout.strip()} on Node.js {output('node', '--version')}"

    def command(self, app: str, port: int, rooms: int) -> list[str | Path]:
        return ["node", PEERS / "javascript/node.mjs", "--port", str(port), "--app", app]


class Rust(Server):
    """`id` is the name of the binary and of the library."""

    def build(self, trial: bool) -> None:
        manifest = PEERS / "rust/Cargo.toml"
        run("cargo", "build", "--quiet", "--release", "--locked", "--manifest-path", manifest,
            "--target-dir", BUILT / "rust")
        lock = tomllib.loads((PEERS / "rust/Cargo.lock").read_text())
        self.version = next(package["version"] for package in lock["package"] if package["name"] == self.id)

    def command(self, app: str, port: int, rooms: int) -> list[str | Path]:
        return [BUILT / "rust/release" / self.id, "--port", str(port), "--app", app]


EVERYTHING = ("echo", "broadcast", "chat")
CAMPANILE = Campanile("campanile", "Campanile", EVERYTHING, principal=True, trial=True)
SERVERS = [
    CAMPANILE,
    UWebSockets("uwebsockets", "uWebSockets", principal=True),
    Bun("bun", "Bun", EVERYTHING, principal=True),
    Rust("sockudo-ws", "sockudo-ws (tokio)"),
    Rust("tokio-tungstenite", "tokio-tungstenite"),
    Rust("fastwebsockets", "fastwebsockets (tokio)", ("echo",)),
    Rust("monoio", "monoio, bare frames", ("echo",)),
    Rust("tokio-uring", "tokio-uring, bare frames", ("echo",)),
    Node("node", "ws (Node.js)", EVERYTHING, trial=True),
]
