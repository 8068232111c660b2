"""SVG plots, in ink that is read on light and on dark paper alike."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot

from results import OURS, Results, number
from workloads import IDLE, LATENCIES, Workload

# Contrast of the ink against white and against black: 4.5 to 1 each.
INK = "#767676"
OUR_COLOUR = "#d9622b"
PEER_COLOUR = "#8a9aa8"
SLAB_ALPHA = 0.45
COLUMNS = 3
TITLE_CHARS = 44
# The longest bar, in multiples of the shortest.
CUT_AT = 5
# What the figures begin with that are processor time.
PROCESSOR_TIME = ("server_cpu_us", "core_busy_us")

pyplot.rcParams.update(
    {
        "svg.fonttype": "none",
        # Else every drawing of the same data is another file.
        "svg.hashsalt": "campanile",
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": INK,
        "axes.titlesize": 9.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": INK,
        "ytick.color": INK,
    }
)


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Draws what there is data for. Returns file → what it shows."""
    drawn = {}
    timed = [workload for workload in results.workloads if workload.figure.name.startswith(PROCESSOR_TIME)]
    latent = [workload for workload in results.workloads if workload.figure in LATENCIES]
    if any(bars(results, workload) for workload in timed):
        save(cpu(results, timed), folder / "cpu.svg")
        drawn["cpu.svg"] = "Processor time per message, by workload"
    if IDLE in results.workloads and bars(results, IDLE):
        save(memory(results), folder / "memory.svg")
        drawn["memory.svg"] = "Memory per idle connection"
    if any(bars(results, workload) for workload in latent):
        save(latency(results, latent), folder / "latency.svg")
        drawn["latency.svg"] = "Latency at a given rate"
    return drawn


def save(figure, path: Path) -> None:
    figure.savefig(path, transparent=True, metadata={"Date": None})
    pyplot.close(figure)


def bars(results: Results, workload: Workload) -> list[tuple[str, object]]:
    """Servers with a figure, the lowest first."""
    spreads = [(s, results.spread(workload, s, workload.figure)) for s in results.servers_of(workload)]
    return sorted((pair for pair in spreads if pair[1]), key=lambda pair: pair[1].median)


def colour(server: str) -> str:
    return OUR_COLOUR if server == OURS else PEER_COLOUR


def name_rows(axes, results: Results, servers: list[str]) -> None:
    axes.set_yticks(range(len(servers)), [results.label(server) for server in servers])
    for tick, server in zip(axes.get_yticklabels(), servers):
        if server == OURS:
            tick.set_color(OUR_COLOUR)
            tick.set_fontweight("bold")
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)


def cpu(results: Results, workloads: list[Workload]):
    workloads = [workload for workload in workloads if bars(results, workload)]
    rows = -(-len(workloads) // COLUMNS)
    most = max(len(bars(results, workload)) for workload in workloads)
    size = (COLUMNS * 4.6, rows * (0.24 * most + 0.95))
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=size, squeeze=False, layout="constrained")
    for axes, workload in zip(grid.flat, workloads):
        ranked = bars(results, workload)
        # A server that is many times slower must not press the others into the axis: its bar is cut.
        limit = min(max(spread.high for _, spread in ranked), CUT_AT * ranked[0][1].median)
        for row, (server, spread) in enumerate(ranked):
            is_cut = spread.high > limit
            below_above = None if is_cut else [[spread.median - spread.low], [spread.high - spread.median]]
            length = min(spread.median, limit)
            axes.barh(row, length, color=colour(server), xerr=below_above, ecolor=INK, height=0.7)
            label = f" {number(spread.median)}" + (" →" if is_cut else "")
            axes.annotate(label, (min(spread.high, limit), row), va="center")
        name_rows(axes, results, [server for server, _ in ranked])
        axes.set_xlim(0, limit * 1.25)
        title = textwrap.fill(f"{workload.id}: {workload.title}", TITLE_CHARS)
        axes.set_title(f"{title}\n{workload.figure.label}", loc="left")
    for axes in list(grid.flat)[len(workloads):]:
        axes.set_visible(False)
    return figure


def memory(results: Results):
    ranked = bars(results, IDLE)
    figure, axes = pyplot.subplots(figsize=(8, 0.34 * len(ranked) + 1.1), layout="constrained")
    for row, (server, spread) in enumerate(ranked):
        slab = results.spread(IDLE, server, IDLE.second)
        kernel = slab.median if slab else 0
        axes.barh(row, spread.median, color=colour(server), height=0.7)
        axes.barh(row, kernel, left=spread.median, color=colour(server), alpha=SLAB_ALPHA, height=0.7)
        label = f" {number(spread.median)} + {number(kernel)} B"
        axes.annotate(label, (spread.median + kernel, row), va="center")
    name_rows(axes, results, [server for server, _ in ranked])
    axes.set_xlim(0, axes.get_xlim()[1] * 1.2)
    title = f"{IDLE.title}: bytes of the process for each,\nand (pale) of the kernel's slab for both ends"
    axes.set_title(title, loc="left")
    return figure


def latency(results: Results, workloads: list[Workload]):
    workloads = [workload for workload in workloads if bars(results, workload)]
    most = max(len(bars(results, workload)) for workload in workloads)
    size = (10, 0.3 * most + 1.3)
    figure, grid = pyplot.subplots(1, len(workloads), figsize=size, squeeze=False, layout="constrained")
    for axes, workload in zip(grid.flat, workloads):
        ranked = bars(results, workload)
        for row, (server, _) in enumerate(ranked):
            spreads = [results.spread(workload, server, quantile) for quantile in LATENCIES]
            values = [spread.median for spread in spreads if spread]
            axes.plot(values, [row] * len(values), color=colour(server), linewidth=1.5)
            for marker, value in zip("o|x", values):
                axes.plot(value, row, marker, color=colour(server), markersize=8, markeredgewidth=2)
        name_rows(axes, results, [server for server, _ in ranked])
        axes.set_xscale("log")
        axes.set_title(f"{workload.id}: {workload.title}\nµs, p50 ●  p99 |  p99.9 ×", loc="left")
    return figure
