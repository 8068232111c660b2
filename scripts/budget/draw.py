"""The plot: memory against the budget, what becomes of the crowd, and the calm room's latency."""

from pathlib import Path

from matplotlib import pyplot

import plots

MIB = 1 << 20
MARKS = ((0.8, "soft"), (0.9, "hard"), (1.0, "limit"))


def draw(raw: dict, path: Path) -> None:
    size = (8.8, 7.5)
    figure, panels = pyplot.subplots(3, 1, figsize=size, sharex=True, layout="constrained")
    times = raw["times_s"]
    for axes in panels:
        axes.axvspan(times["fat_from"], times["until"], color=plots.INK, alpha=0.12, linewidth=0)
        axes.axvspan(times["crowd_from"], times["until"], color=plots.INK, alpha=0.12, linewidth=0)
        axes.set_xlim(0, raw["duration_s"])
    memory(panels[0], raw)
    crowd(panels[1], raw)
    latency(panels[2], raw)
    panels[2].set_xlabel("seconds")
    plots.save(figure, path)


def memory(axes, raw: dict) -> None:
    samples = raw["samples"]
    seconds = [sample["s"] for sample in samples]
    axes.plot(seconds, [s["rss_bytes"] / MIB for s in samples], color=plots.OUR_COLOUR, label="resident")
    axes.plot(seconds, [s["held_bytes"] / MIB for s in samples], color=plots.PEER_COLOUR, label="held by shards")
    for part, name in MARKS:
        mark = raw["limit_bytes"] * part / MIB
        axes.axhline(mark, color=plots.INK, linestyle="--", linewidth=0.8)
        axes.annotate(name, (raw["duration_s"], mark), ha="right", va="bottom", fontsize=8)
    axes.set_title("Memory", loc="left")
    axes.set_ylabel("MiB")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, labelcolor=plots.INK, loc="lower center")


def crowd(axes, raw: dict) -> None:
    samples = raw["samples"]
    seconds = [sample["s"] for sample in samples]
    for status, label, colour in ((101, "crowd: let in", plots.OUR_COLOUR), (503, "crowd: refused", plots.INK)):
        came = [attempt["s"] for attempt in raw["attempts"] if attempt["status"] == status]
        axes.step(came, range(1, len(came) + 1), where="post", color=colour, label=label)
    axes.plot(seconds, [s["paused"] for s in samples], color=plots.PEER_COLOUR, label="not read from")
    for sample in samples:
        if sample["readyz"] == 503:
            axes.axvspan(sample["s"], sample["s"] + 0.25, ymax=0.03, color=plots.INK, linewidth=0)
    axes.set_title("Connections (the bar at the bottom: /readyz says 503)", loc="left")
    axes.legend(frameon=False, labelcolor=plots.INK, loc="upper left")


def latency(axes, raw: dict) -> None:
    lines = [line for line in raw["series"] if 0 <= line["s"] < raw["duration_s"]]
    seconds = [line["s"] for line in lines]
    for name, label, width in (("p50_us", "p50", 1.5), ("p99_us", "p99", 0.9)):
        values = [line[name] if line[name] is not None else float("nan") for line in lines]
        axes.plot(seconds, values, color=plots.OUR_COLOUR, linewidth=width, label=label)
    axes.set_yscale("log")
    axes.set_title("Latency in the calm room", loc="left")
    axes.set_ylabel("µs")
    axes.legend(frameon=False, labelcolor=plots.INK, loc="upper left")
