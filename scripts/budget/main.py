"""Fills a server with a small memory budget beyond it, and records what it does; see --help."""

import argparse
import dataclasses
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
from clients import Plan
from measure import await_listening, free_port, shown, stop
from servers import ROOT, TARGET

HELP = """\
A server with a budget of 96 MiB, soft at 80 % and hard at 90 %. A calm room of 50 members hears 100
messages a second from the first second to the last. From second 5 on 50 connections upload a message of
1 MiB each that never ends, and 50 ask for more than 1 MiB of history each and read none of it: more than
100 MiB, if nobody stopped them. From second 25 on 1,500 others come, 100 a second, each with 15 KiB at once,
of which nothing is left to be stopped. Who is not read from for 20 seconds (heartbeat.pong_wait) is closed
with 1013. At second 45 all that are left leave.

Four times a second: the process's resident memory, what the server says that it holds and how short of
it it is, what /readyz and a handshake are answered. With the calm room's latency this is written to
raw.json, README.md and budget.svg. Nobody else should use the machine meanwhile.

Exit status 1 if the budget did not hold: soft and hard were not reached, memory went beyond the limit,
nobody was refused, or it did not come back.
"""

MIB = 1 << 20
SAMPLE_S = 0.25
WARM_UP_S, CALM_ROOM = 1, "calm"
MEMBERS, PUBLISHERS, PER_S = 50, 2, 100
TIMES_S = {"fat_from": 5, "crowd_from": 25, "until": 45}
DURATION_S = 60
FILE = """
[server]
listen = ["127.0.0.1:{port}"]
admin_listen = ["127.0.0.1:{admin}"]
shards = 1
[auth]
mode = "trust"
[heartbeat]
ping_period = "10s"
pong_wait = "20s"
[store]
path = ""
[limits]
memory_limit = "{limit_mib}MiB"
max_connections_per_user = 0
messages_per_second = 0
max_message_size = "2MiB"
queue_bytes = "4MiB"
topic_window_bytes = "4MiB"
[messaging]
echo_to_sender = true
[[route]]
path = "/v1/connect"
profile = "v1"
[[route]]
path = "/ws/calm"
room = "calm"
[[namespace]]
pattern = "archive"
history_bytes = "4MiB"
[[namespace]]
pattern = "*"
history_bytes = "2MiB"
"""
# What is kept of a scrape: name in the record → metric; a metric with labels is summed.
METRICS = {
    "connections": "campanile_connections",
    "used_bytes": "campanile_memory_used_bytes",
    "held_bytes": "campanile_memory_bytes",
    "pressure": "campanile_memory_pressure",
    "paused": "campanile_memory_paused_connections",
    "refused": "campanile_memory_handshakes_refused_total",
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/memory-budget", description=HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder, in place of bench-results/<date>-memory")
    parser.add_argument("--binary", type=Path, help="a binary that is there, in place of a release build")
    parser.add_argument("--limit-mib", type=int, default=96, metavar="N", help="the budget (96)")
    return parser.parse_args()


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", path)
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def scraped(text: str) -> dict[str, float]:
    sums = dict.fromkeys(METRICS.values(), 0.0)
    for line in text.splitlines():
        name = line.split("{", 1)[0].split(" ", 1)[0]
        if name in sums:
            sums[name] += float(line.rsplit(" ", 1)[1])
    return {key: sums[name] for key, name in METRICS.items()}


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Sampler(threading.Thread):
    def __init__(self, pid: int, admin: int):
        super().__init__(daemon=True)
        self.pid, self.admin, self.samples, self.over = pid, admin, [], threading.Event()

    def run(self) -> None:
        while not self.over.wait(SAMPLE_S):
            sample = {"unix_s": time.time(), "rss_bytes": resident_bytes(self.pid)}
            sample |= scraped(get(self.admin, "/metrics")[1])
            self.samples.append(sample | {"readyz": get(self.admin, "/readyz")[0]})


def calm_command(binary: Path, port: int, pid: int, folder: Path) -> list:
    return [
        binary, "load", "chat", "--url", f"ws://127.0.0.1:{port}/ws/calm", "--room-size", str(MEMBERS),
        "--publishers", str(PUBLISHERS), "--rate", f"{PER_S}/s", "--warm-up", f"{WARM_UP_S}s",
        "--duration", f"{DURATION_S}s", "--server-pid", str(pid), "--quiet",
        "--series", folder / "series", "--json", folder / "answer",
    ]  # fmt: skip


def measure(binary: Path, limit_mib: int) -> dict:
    port, admin = free_port(), free_port()
    with tempfile.TemporaryDirectory(dir=TARGET) as name:
        folder = Path(name)
        text = FILE.format(port=port, admin=admin, limit_mib=limit_mib)
        (folder / "campanile.toml").write_text(text)
        command = [binary, "serve", "-c", folder / "campanile.toml"]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, stderr=log)
        try:
            await_listening(process, port)
            calm = calm_command(binary, port, process.pid, folder)
            load = subprocess.Popen(calm, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
            began = time.time() + WARM_UP_S
            sampler = Sampler(process.pid, admin)
            sampler.start()
            plan = Plan(
                **{key: began + seconds for key, seconds in TIMES_S.items()},
                uploaders=50, readers=50, fat_bytes=MIB, fat_s=20, crowd=1500, crowd_per_s=100,
                crowd_bytes=15 * 1024,
            )  # fmt: skip
            clients = [sys.executable, Path(__file__).with_name("clients.py"), str(port)]
            did = subprocess.run(
                [*clients, json.dumps(dataclasses.asdict(plan))], stdout=subprocess.PIPE, text=True, check=True
            )
            complaint = load.communicate()[1].strip()
            sampler.over.set()
            sampler.join()
        finally:
            stop(process)
        lines = (folder / "series").read_text().splitlines()
        warnings = [line for line in (folder / "log").read_text().splitlines() if "memory" in line]
        result = json.loads((folder / "answer").read_text())
    series, attempts = ([json.loads(line) for line in lines] for lines in (lines, did.stdout.splitlines()))
    for line in (*series, *attempts, *sampler.samples):
        line["s"] = round(line.pop("unix_s") - began, 3)
    record = {"configuration": text, "server_command": shown(command), "load_command": shown(calm)}
    record |= {"limit_bytes": limit_mib * MIB, "times_s": TIMES_S, "duration_s": DURATION_S, "calm": result}
    record |= {"series": series, "attempts": attempts, "samples": sampler.samples, "log": warnings}
    return record | ({"failed": complaint} if complaint or load.returncode else {})


def faults(raw: dict) -> list[str]:
    """What the budget did not do."""
    samples, attempts = raw["samples"], raw["attempts"]
    during = [sample for sample in samples if sample["s"] < raw["times_s"]["until"]]
    last = samples[-1]
    refused = [attempt for attempt in attempts if attempt["status"] == 503]
    checks = {
        "soft was not reached": any(sample["pressure"] == 1 and sample["paused"] for sample in during),
        "hard was not reached": any(sample["pressure"] == 2 for sample in during),
        "memory went beyond the limit": max(sample["rss_bytes"] for sample in samples) <= raw["limit_bytes"],
        "nobody was refused with 503 and Retry-After": refused and all(one["retry_after"] for one in refused),
        "/readyz was never 503": any(sample["readyz"] == 503 for sample in during),
        "it did not come back": last["pressure"] == 0 and last["readyz"] == 200 and not last["paused"],
        "the calm room failed": "failed" not in raw,
    }
    return [fault for fault, is_well in checks.items() if not is_well]


def report(raw: dict, wrong: list[str]) -> str:
    samples, until = raw["samples"], raw["times_s"]["until"]

    def worst(begin: float, end: float) -> str:
        values = [line["p99_us"] for line in raw["series"] if begin <= line["s"] < end and line["p99_us"] is not None]
        return f"{max(values) / 1000:.1f} ms" if values else "none"

    codes = [attempt["status"] for attempt in raw["attempts"]]
    first = {level: next((f"{s['s']:.1f} s" for s in samples if s["pressure"] >= level), "never") for level in (1, 2)}
    back = next((f"{s['s'] - until:.1f} s" for s in samples if s["s"] > until and s["pressure"] == 0), "never")
    rows = [
        ("budget", f"{raw['limit_bytes'] / MIB:.0f} MiB"),
        ("resident at first, most, at the end", " / ".join(
            f"{value / MIB:.1f} MiB" for value in (
                samples[0]["rss_bytes"], max(s["rss_bytes"] for s in samples), samples[-1]["rss_bytes"]))),
        ("soft from, hard from", f"{first[1]}, {first[2]}"),
        ("connections not read from, most", f"{max(s['paused'] for s in samples):.0f}"),
        ("of the crowd let in, refused with 503, without an answer",
         f"{codes.count(101)}, {codes.count(503)}, {codes.count(0)}"),
        ("no pressure any more, after all had left", back),
        ("the calm room's p99, worst quarter of a second: before, under pressure, after",
         " / ".join(worst(*span) for span in ((0, 5), (5, until), (until, raw["duration_s"])))),
        ("it failed", "; ".join(wrong) or "no"),
    ]  # fmt: skip
    facts = "\n".join(f"| {name} | {value} |" for name, value in raw["host"].items())
    figures = "\n".join(f"| {name} | {value} |" for name, value in rows)
    return (
        f"# The memory budget at work\n\n{HELP}\n![memory, pressure and latency](budget.svg)\n\n"
        f"| | |\n|---|---|\n{figures}\n\n| | |\n|---|---|\n{facts}\n\n"
        f"    {raw['server_command']}\n    {raw['load_command']}\n\n```toml{raw['configuration']}```\n"
    )


def main() -> int:
    args = arguments()
    binary = args.binary or TARGET / "release/campanile"
    if not args.binary:
        subprocess.run(["cargo", "build", "--release", "--bin", "campanile"], check=True)
    today = datetime.datetime.now(datetime.UTC).date()
    out = args.out or ROOT / f"bench-results/{today}-memory"
    out.mkdir(parents=True, exist_ok=True)
    raw = {"host": host.facts()} | measure(binary, args.limit_mib)
    (out / "raw.json").write_text(json.dumps(raw, separators=(",", ":")) + "\n")
    draw.draw(raw, out / "budget.svg")
    wrong = faults(raw)
    text = report(raw, wrong)
    (out / "README.md").write_text(text)
    print(text)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
