"""Shows what becomes of a calm room while somebody else overloads the server; see `scripts/overload --help`."""

import argparse
import datetime
import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import draw
import host
import report
from cases import CALM_ROOM, CASES, Case
from measure import await_listening, free_port, shown, stop
from servers import ROOT, TARGET

HELP = """\
A room of 100 members hears 200 messages a second, at a fixed rate, for half a minute. From second 10
to second 20 others overload the server. What the members' latency and the server's memory do is
written to raw.json, README.md and SVG plots. The server has one shard, on the first core; the load
that observes and, at the lowest priority, the clients that disturb share the second. Controls direct
the same disturbance at another server, so that one sees what that sharing does by itself. Nobody else
should use the machine meanwhile.

With --cases the folder may already have others, which are kept: so each can be measured by itself.
"""

MEMBERS, PUBLISHERS, PER_S = 100, 4, 200
WARM_UP_S, DURATION_S = 1, 30
DISTURBED_S = (10, 20)
SAMPLE_S = 0.25
NICEST = 19
# What is kept of the server's counters.
COUNTERS = ("connections", "accepted", "messages_in", "published", "short_sends", "dropped_backpressure", "lagged",
            "too_slow", "timed_out", "violations", "read_pauses", "receive_buffers_exhausted", "accept_pauses")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/overload", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ids = [case.id for case in CASES]
    parser.add_argument("--cases", nargs="+", metavar="ID", choices=ids, help=f"of {' '.join(ids)}; all without")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder, in place of bench-results/<date>-overload")
    parser.add_argument("--replot", action="store_true", help="only write README.md and plots of the folder again")
    parser.add_argument("--no-build", action="store_true", help="the programs have been built")
    return parser.parse_args()


class Core:
    """What is started inside inherits the core."""

    def __init__(self, core: int):
        self.core = core

    def __enter__(self):
        self.before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core})

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.before)


def nice() -> None:
    os.nice(NICEST)


class Server:
    """examples/rooms.rs on a core of its own."""

    def __init__(self, core: int, slow_policy: str, is_nice: bool = False):
        self.port = free_port()
        program = TARGET / "release/examples/rooms"
        self.command = [program, "--listen", f"127.0.0.1:{self.port}", "--shards", "1", "--slow-policy", slow_policy]
        with Core(core):
            self.process = subprocess.Popen(self.command, preexec_fn=nice if is_nice else None)
        await_listening(self.process, self.port)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_):
        stop(self.process)

    def cpu_s(self) -> float:
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


class Sampler(threading.Thread):
    """Reads the server's counters and its processor time four times a second, on one connection."""

    def __init__(self, server: Server):
        super().__init__(daemon=True)
        self.server, self.samples, self.over = server, [], threading.Event()

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=10)
        while not self.over.wait(SAMPLE_S):
            asked = time.time()
            connection.request("GET", "/stats")
            answer = connection.getresponse()
            told = json.loads(answer.read())
            sample = {"unix_s": asked, "cpu_s": self.server.cpu_s()}
            self.samples.append(sample | {name: told[name] for name in COUNTERS})

    def end(self) -> list[dict]:
        self.over.set()
        self.join()
        return self.samples


def measure(case: Case, cores: tuple[int, int]) -> dict:
    """The record of one case. Times are seconds since the first measured second."""
    server_core, load_core = cores
    with Server(server_core, case.slow_policy) as server:
        if not case.is_control:
            return observe(case, server, server, cores)
        with Server(load_core, case.slow_policy, is_nice=True) as other:
            return observe(case, server, other, cores)


def observe(case: Case, server: Server, disturbed: Server, cores: tuple[int, int]) -> dict:
    with tempfile.TemporaryDirectory(dir=TARGET) as folder:
        series, answer = Path(folder, "series"), Path(folder, "answer")
        command = [
            TARGET / "release/campanile", "load", "fanout", "--url", f"ws://127.0.0.1:{server.port}/?room={CALM_ROOM}",
            "--subscribers", str(MEMBERS), "--publishers", str(PUBLISHERS), "--rate", f"{PER_S}/s",
            "--size", str(case.message_bytes), "--warm-up", f"{WARM_UP_S}s", "--duration", f"{DURATION_S}s",
            "--core", str(cores[1]), "--server-pid", str(server.process.pid), "--quiet",
            "--series", series, "--json", answer,
        ]
        sampler = Sampler(server)
        with Core(cores[1]):
            load = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            sampler.start()
            began = first_message(load, series) + WARM_UP_S
            time.sleep(max(0, began + DISTURBED_S[0] - time.time()))
            did = disturb(case, disturbed, began)
        complaint = load.communicate()[1].strip()
        samples = sampler.end()
        lines = [json.loads(line) for line in series.read_text().splitlines()]
        result = json.loads(answer.read_text())
    for line in (*lines, *samples):
        line["s"] = round(line.pop("unix_s") - began, 3)
    record = {"title": case.title, "server_command": shown(server.command), "load_command": shown(command)}
    record |= {"disturbance": did, "result": result, "series": lines, "samples": samples}
    if complaint or load.returncode:
        record["failed"] = complaint
    return record


def first_message(load: subprocess.Popen, series: Path) -> float:
    """Waits until messages flow. When they began to, seconds since 1970."""
    while load.poll() is None:
        text = series.read_text() if series.exists() else ""
        for line in map(json.loads, text.splitlines()):
            if line["received"]:
                return line["unix_s"]
        time.sleep(0.02)
    raise OSError(f"the load has ended: {load.stderr.read()}")


def disturb(case: Case, server: Server, began: float) -> dict:
    until = began + DISTURBED_S[1]
    program = Path(__file__).with_name("clients.py")
    command = [sys.executable, program, case.kind, str(server.port), case.room, str(until)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, preexec_fn=nice, check=True)
    did = json.loads(done.stdout)
    did["began_s"] = round(did.pop("began_unix_s") - began, 3)
    did["ended_s"] = round(did.pop("ended_unix_s") - began, 3)
    return did


def main() -> int:
    args = arguments()
    today = datetime.datetime.now(datetime.UTC).date()
    out = args.out or ROOT / f"bench-results/{today}-overload"
    path = out / "raw.json"
    raw = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    if not args.replot:
        if not args.no_build:
            subprocess.run(["cargo", "build", "--release", "--bin", "campanile", "--example", "rooms"], check=True)
        cores = sorted(os.sched_getaffinity(0))[:2]
        if len(cores) < 2:
            print("scripts/overload: two cores are needed", file=sys.stderr)
            return 1
        raw |= {"host": host.facts(), "cores": cores}
        out.mkdir(parents=True, exist_ok=True)
        for case in CASES:
            if args.cases and case.id not in args.cases:
                continue
            print(case.title, flush=True)
            raw["cases"][case.id] = measure(case, (cores[0], cores[1]))
            path.write_text(json.dumps(raw, separators=(",", ":")) + "\n")
    plots = draw.draw(raw, out)
    report.write(raw, plots, out / "README.md")
    return int(any("failed" in record for record in raw["cases"].values()))


if __name__ == "__main__":
    sys.exit(main())
