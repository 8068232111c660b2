"""The plots: latency and memory over time, a panel for each case."""

from pathlib import Path

from matplotlib import pyplot

import plots
from cases import CASES, MIB, Case

COLUMNS = 3
QUANTILES = (("p50_us", "p50", 1.6, 1.0), ("p99_us", "p99", 1.1, 0.75), ("max_us", "longest", 0.7, 0.4))
DURATION_S = 30


def draw(raw: dict, folder: Path) -> dict[str, str]:
    """File → what it shows."""
    measured = [case for case in CASES if case.id in raw["cases"]]
    disturbed = [case for case in measured if not case.is_control]
    controls = [case for case in measured if case.is_control]
    drawn = {}
    for file, title, cases, panel in (
        ("latency.svg", "Latency in the calm room", disturbed, latency),
        ("controls.svg", "The same, while the disturbance is at another server", controls, latency),
        ("memory.svg", "Memory of the server", disturbed, memory),
    ):
        if cases:
            plots.save(panels(raw, cases, panel), folder / file)
            drawn[file] = title
    return drawn


def panels(raw: dict, cases: list[Case], panel):
    rows = -(-len(cases) // COLUMNS)
    size = (COLUMNS * 4.4, rows * 2.5 + 0.3)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=size, squeeze=False, layout="constrained", sharey=True)
    for axes, case in zip(grid.flat, cases):
        record = raw["cases"][case.id]
        did = record["disturbance"]
        axes.axvspan(did["began_s"], did["ended_s"], color=plots.INK, alpha=0.18, linewidth=0)
        panel(axes, case, record)
        title = plots.textwrap.fill(case.title, plots.TITLE_CHARS)
        axes.set_title(title, loc="left")
        axes.set_xlim(0, DURATION_S)
        axes.set_xlabel("seconds")
    grid.flat[0].legend(frameon=False, labelcolor=plots.INK, loc="upper left")
    for axes in list(grid.flat)[len(cases):]:
        axes.set_visible(False)
    return figure


def latency(axes, case: Case, record: dict) -> None:
    lines = [line for line in record["series"] if 0 <= line["s"] < DURATION_S]
    seconds = [line["s"] for line in lines]
    for name, label, width, alpha in QUANTILES:
        # A quarter without any message is a hole in the line.
        values = [line[name] if line[name] is not None else float("nan") for line in lines]
        axes.plot(seconds, values, color=plots.OUR_COLOUR, linewidth=width, alpha=alpha, label=label)
    axes.set_yscale("log")
    axes.set_ylabel("µs")


def memory(axes, case: Case, record: dict) -> None:
    lines = [line for line in record["series"] if 0 <= line["s"] < DURATION_S and line["server_rss_bytes"]]
    seconds = [line["s"] for line in lines]
    axes.plot(seconds, [line["server_rss_bytes"] / MIB for line in lines], color=plots.OUR_COLOUR, label="resident")
    before = max(line["server_rss_bytes"] for line in lines if line["s"] < record["disturbance"]["began_s"])
    limit = (before + case.budget_bytes()) / MIB
    axes.axhline(limit, color=plots.INK, linestyle="--", linewidth=1, label="budget")
    axes.set_ylabel("MiB")
    axes.set_ylim(bottom=0)
