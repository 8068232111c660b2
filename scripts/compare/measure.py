"""One measurement: a fresh server on its core, the load on another, one answer."""

import json
import os
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from servers import ROOT, TARGET, Server
from workloads import Workload

START_S = 10
STOP_S = 5
# What the load may take beyond what it was asked to measure.
LOAD_S = 180
REASON_CHARS = 300


@dataclass(frozen=True)
class Conditions:
    """What all measurements have in common. `program`: the load."""

    program: Path
    seconds: float
    cores: tuple[int, int] | None
    load_threads: int

    @staticmethod
    def here(program: Path, seconds: float, load_threads: int) -> "Conditions":
        """Server on the first core that this process may use, load from the second on."""
        cores = sorted(os.sched_getaffinity(0))
        pair = (cores[0], cores[1]) if len(cores) > 1 else None
        return Conditions(program, seconds, pair, load_threads)


def measure(server: Server, workload: Workload, conditions: Conditions) -> dict:
    """The record of one run: `result` is the load's answer, or `failed` says why there is none."""
    record = {"workload": workload.id, "server": server.id, "began": round(time.time(), 1)}
    port = free_port()
    rooms = workload.options.get("rooms", 0)
    command = server.command(workload.app, port, rooms)
    with tempfile.TemporaryFile(dir=TARGET) as log, pinned(conditions):
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        await_listening(process, port)
        record["server_command"] = shown(command)
        record |= load(process.pid, workload, port, conditions)
        if process.poll() is not None:
            record["failed"] = f"the server has ended with status {process.returncode}"
    except (OSError, subprocess.SubprocessError) as error:
        record["failed"] = str(error)[:REASON_CHARS]
    finally:
        stop(process)
    return record


class pinned:
    """What is started inside inherits the server's core."""

    def __init__(self, conditions: Conditions):
        self.cores = conditions.cores

    def __enter__(self):
        self.before = os.sched_getaffinity(0)
        if self.cores:
            os.sched_setaffinity(0, {self.cores[0]})

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.before)


def load(pid: int, workload: Workload, port: int, conditions: Conditions) -> dict:
    url = f"ws://127.0.0.1:{port}{workload.path()}"
    command = [conditions.program, *workload.arguments(conditions.seconds, url)]
    command += ["--threads", str(conditions.load_threads), "--server-pid", str(pid), "--quiet"]
    if conditions.cores:
        command += ["--core", str(conditions.cores[1]), "--server-core", str(conditions.cores[0])]
    with tempfile.NamedTemporaryFile(dir=TARGET, suffix=".json") as answer:
        command += ["--json", answer.name]
        wait = conditions.seconds + LOAD_S
        done = subprocess.run(command, capture_output=True, text=True, timeout=wait, check=False)
        text = Path(answer.name).read_text()
    record = {"load_command": shown(["campanile", *command[1:-1], "FILE"])}
    if text:
        record["result"] = json.loads(text)
    if done.returncode:
        said = (done.stderr.strip() or "without a word").splitlines()
        reason = next((line for line in said if line.startswith("error: ")), said[-1])
        record["failed"] = reason.removeprefix("error: ")[:REASON_CHARS]
    elif not text:
        record["failed"] = "the load has no answer"
    elif errors := record["result"].get("errors"):
        record["failed"] = f"errors: {errors}"[:REASON_CHARS]
    return record


def shown(command: list) -> str:
    """A command without the folders of this machine."""
    words = [str(word) for word in command]
    roots = ((str(TARGET), "target"), (str(ROOT) + "/", ""))
    for root, name in roots:
        words = [word.replace(root, name) for word in words]
    return " ".join(words)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def await_listening(process: subprocess.Popen, port: int) -> None:
    deadline = time.monotonic() + START_S
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.02)
    if process.poll() is not None:
        raise OSError(f"the server has ended at its start with status {process.returncode}")
    raise OSError(f"the server does not listen after {START_S} s")


def stop(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
