"""README.md of a measurement, from its raw data. What a person wrote below MINE stays."""

from pathlib import Path

from cases import CASES, MIB, Case

MINE = "## What one sees"
COUNTED = ("lagged", "too_slow", "timed_out", "short_sends", "dropped_backpressure", "violations", "read_pauses",
           "receive_buffers_exhausted", "accept_pauses")


def write(raw: dict, plots: dict[str, str], path: Path) -> None:
    before = path.read_text() if path.exists() else ""
    _, mine, said = before.partition(MINE)
    lines = ["# A calm room while the server is overloaded", ""]
    facts = [[name, value] for name, value in raw["host"].items()]
    facts += [
        ["command", "`scripts/overload`"],
        ["server", "`examples/rooms.rs`, one shard on core {}, limits as they come".format(raw["cores"][0])],
        ["load", "100 members, 4 of whom publish 200 messages of 2 KiB a second together (of 8 KiB where some "
                 "do not read), at a fixed rate; every delivery checked; `campanile load` and, at the lowest priority, the clients that disturb on "
                 "core {}".format(raw["cores"][1])],
        ["runs", "one of each case, with a fresh server"],
    ]
    lines += table(["", ""], facts)
    for file, title in plots.items():
        lines += [f"![{title}]({file})", ""]
    lines += ["Shaded: the disturbance. Each point is a quarter of a second. Dashed: what the server may take by "
              "its limits.", ""]
    measured = [case for case in CASES if case.id in raw["cases"]]
    lines += latencies(raw, measured) + memories(raw, measured) + disturbances(raw, measured) + failures(raw)
    text = "\n".join(lines).rstrip() + "\n"
    path.write_text(f"{text}\n{mine}{said}" if mine else text)


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def spans(record: dict) -> list[tuple[float, float]]:
    """Before, during and after the disturbance, without the quarters on their borders."""
    began, ended = record["disturbance"]["began_s"], record["disturbance"]["ended_s"]
    return [(1, began - 0.25), (began + 0.25, ended - 0.25), (ended + 0.25, 30)]


def within(lines: list[dict], span: tuple[float, float]) -> list[dict]:
    return [line for line in lines if span[0] <= line["s"] < span[1]]


def middle(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def latencies(raw: dict, cases: list[Case]) -> list[str]:
    rows = []
    for case in cases:
        record = raw["cases"][case.id]
        cells = []
        for span in spans(record):
            lines = [line for line in within(record["series"], span) if line["received"]]
            p50, p99 = (middle([line[name] for line in lines]) for name in ("p50_us", "p99_us"))
            cells += [f"{p50:,} / {p99:,}", f"{max(line['max_us'] for line in lines):,}"]
        rows.append([case.title, *cells])
    head = ["", "before: p50 / p99", "longest", "during: p50 / p99", "longest", "after: p50 / p99", "longest"]
    said = "Microseconds from when a message was due to be sent. p50 and p99: the median of the quarters of a second."
    return ["## Latency", "", said, "", *table(head, rows)]


def memories(raw: dict, cases: list[Case]) -> list[str]:
    rows = []
    for case in cases:
        if case.is_control:
            continue
        record = raw["cases"][case.id]
        rss = [[line["server_rss_bytes"] for line in within(record["series"], span) if line["server_rss_bytes"]]
               for span in spans(record)]
        budget = max(rss[0]) + case.budget_bytes()
        peak = max(rss[1] + rss[2])
        verdict = "within" if peak <= budget else "**exceeded**"
        rows.append([case.title, mib(max(rss[0])), mib(peak), mib(rss[2][-1]), mib(budget), verdict])
    head = ["", "before", "most", "at the end", "budget", ""]
    said = ("Resident memory of the server, MiB. The budget is what it had before and what its limits allow: "
            "receive buffers (4), spare chunks of logs (4), the window of the topic (1), and for each connection "
            "whose socket is full 192 KiB; `scripts/disturb/cases.py` has the sum.")
    return ["## Memory", "", said, "", *table(head, rows)]


def mib(bytes_: float) -> str:
    return f"{bytes_ / MIB:.1f}"


def disturbances(raw: dict, cases: list[Case]) -> list[str]:
    rows = []
    for case in cases:
        record = raw["cases"][case.id]
        did = {name: value for name, value in record["disturbance"].items() if not name.endswith("_s")}
        span = record["disturbance"]["began_s"], record["disturbance"]["ended_s"]
        inside = within(record["samples"], span)
        busy = (inside[-1]["cpu_s"] - inside[0]["cpu_s"]) / (inside[-1]["s"] - inside[0]["s"])
        first, last = inside[0], record["samples"][-1]
        counted = [f"{name} {last[name] - first[name]:,}" for name in COUNTED if last[name] != first[name]]
        told = ", ".join(f"{name.replace('_', ' ')} {value:,}" for name, value in did.items())
        rows.append([case.title, told, f"{busy:.0%}", ", ".join(counted) or "none"])
    head = ["", "what was done", "server busy meanwhile", "counters that moved"]
    return ["## Disturbances", "", *table(head, rows)]


def failures(raw: dict) -> list[str]:
    failed = {case["title"]: case["failed"] for case in raw["cases"].values() if "failed" in case}
    if not failed:
        return ["No message of the calm room was lost, doubled, damaged or out of order in any case.", ""]
    return ["## What failed", "", *(f"- {title}: {why}" for title, why in failed.items()), ""]
