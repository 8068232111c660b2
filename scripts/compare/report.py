"""README.md of a comparison, from its raw data alone."""

from results import FULL, OURS, Results, number
from workloads import Figure, Workload

AGAINST = ("before", "uwebsockets", "bun")


def table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def markdown(results: Results, plots: dict[str, str]) -> str:
    """`plots`: file → what it shows."""
    lines = [f"# {results.raw['subject']}", ""]
    lines += header(results)
    lines += summary(results)
    lines += ratios(results)
    lines += verdicts(results)
    for file, title in plots.items():
        lines += [f"![{title}]({file})", ""]
    lines += ["## Each workload", ""]
    for workload in results.workloads:
        lines += details(results, workload)
    lines += commands(results)
    return "\n".join(lines).rstrip() + "\n"


def header(results: Results) -> list[str]:
    raw = results.raw
    peers = "; ".join(f"{server['label']} {server['version']}" for server in raw["servers"].values())
    pinned = "server on core {}, load on core {}".format(*raw["cores"]) if raw["cores"] else "none is pinned"
    threads = "one thread" if raw["load_threads"] == 1 else f"{raw['load_threads']} threads"
    few = [server["label"] for id, server in raw["servers"].items() if results.runs(id) < raw["runs"]]
    runs = str(raw["runs"]) + (f" ({raw['others_runs']} of {', '.join(few)})" if few else "")
    rows = [[name, value] for name, value in raw["host"].items()]
    rows += [
        ["command", f"`{raw['command']}`"],
        ["servers", f"{peers}; settings in `benches/peers/README.md`"],
        ["load", f"`campanile load`, {threads}, every message checked; {pinned}"],
        ["runs", f"{runs}, interleaved, each of {raw['seconds']:g} s with a fresh server"],
    ]
    rows += [["not measured", f"{name}: {why}"] for name, why in raw["unavailable"].items()]
    return table(["", ""], rows)


def summary(results: Results) -> list[str]:
    lines = ["## Summary", "", "Medians; less is better. What each figure is, its own table says.", ""]
    rows = []
    for server in results.servers:
        cells = []
        for workload in results.workloads:
            spread = results.spread(workload, server, workload.figure)
            cell = number(spread.median) if spread else ""
            if results.failures(workload, server):
                cell = f"{cell} failed".strip()
            cells.append(f"**{cell}**" if server == OURS and spread else cell)
        rows.append([results.label(server), *cells])
    return lines + table(["", *(workload.id for workload in results.workloads)], rows)


def ratios(results: Results) -> list[str]:
    peers = [peer for peer in AGAINST if peer in results.servers]
    if OURS not in results.servers or not peers:
        return []
    rows = []
    for workload in results.workloads:
        cells = [results.ratio(workload, peer, workload.figure) for peer in peers]
        rows.append([workload.id, workload.figure.label, *(str(cell) if cell else "" for cell in cells)])
    lines = ["## Campanile as a ratio", "", "Computed run by run; the median, lowest and highest of the ratios."]
    lines += ["Below 1 Campanile is ahead.", ""]
    return lines + table(["", "", *(f"to {results.label(peer)}" for peer in peers)], rows)


def verdicts(results: Results) -> list[str]:
    return [
        *section("Where Campanile loses", losses(results), "Nowhere in this run."),
        *section("Where the load was full", full_loads(results), ""),
        *section("What failed", failures(results), ""),
    ]


def section(title: str, lines: list[str], otherwise: str) -> list[str]:
    if not lines and not otherwise:
        return []
    return [f"## {title}", "", *(lines or [otherwise]), ""]


def losses(results: Results) -> list[str]:
    lines = []
    for workload in results.workloads:
        for peer, figure in results.losses(workload):
            ours, theirs = (results.spread(workload, server, figure) for server in (OURS, peer))
            overlap = ", within the spread" if ours.low <= theirs.high else ""
            lines.append(
                f"- **{workload.id}**, {figure.label}: {results.label(peer)} {theirs} "
                f"against {ours}{overlap}."
            )
    return lines


def full_loads(results: Results) -> list[str]:
    lines = []
    for workload in results.workloads:
        full = [server for server in results.servers_of(workload) if results.load_was_full(workload, server)]
        if full:
            names = ", ".join(results.label(server) for server in full)
            lines.append(f"- **{workload.id}**: {names}.")
    if not lines:
        return []
    explanation = (
        f"The load was busy for more than {FULL:.0%} of the time and the server was not. A server that is not "
        "full gathers less in a turn and pays more for each message, so these figures are too high, and the rates "
        "are the load's:"
    )
    return [explanation, "", *lines]


def failures(results: Results) -> list[str]:
    lines = []
    for workload in results.workloads:
        for server in results.servers_of(workload):
            reasons = results.failures(workload, server)
            runs = len(results.of(workload, server))
            for reason in dict.fromkeys(reasons):
                count = reasons.count(reason)
                lines.append(f"- **{workload.id}**, {results.label(server)}, {count} of {runs} runs: {reason}")
    return lines


def details(results: Results, workload: Workload) -> list[str]:
    figures = workload.figures()
    can_be_compared = OURS in results.servers
    head = ["", *(figure.label for figure in figures)] + (["Campanile as a ratio"] if can_be_compared else [])
    rows = []
    for server in results.servers_of(workload):
        cells = [cell(results, workload, server, figure) for figure in figures]
        if not any(cells):
            cells[0] = "failed"
        if can_be_compared:
            ratio = results.ratio(workload, server, workload.figure) if server != OURS else None
            cells.append(str(ratio) if ratio else "")
        rows.append([results.label(server), *cells])
    return [f"### {workload.id}: {workload.title}", "", *table(head, rows)]


def cell(results: Results, workload: Workload, server: str, figure: Figure) -> str:
    spread = results.spread(workload, server, figure)
    if not spread:
        return ""
    # The spread of the figures that are compared; of the others the median is enough.
    return str(spread) if figure in (workload.figure, workload.second) else number(spread.median)


def commands(results: Results) -> list[str]:
    """Of each server in each application one, and of each workload one."""
    lines = ["## Commands", "", "Ports and process numbers differ from run to run.", "", "```"]
    apps = {workload.id: workload.app for workload in results.workloads}
    shown = {}
    for record in results.records:
        server = record["server"], apps.get(record["workload"])
        shown.setdefault(server, record.get("server_command"))
    for record in results.records:
        shown.setdefault(record["workload"], record.get("load_command"))
    return [*lines, *filter(None, shown.values()), "```", ""]
