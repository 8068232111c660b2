"""What was measured, and what follows from it: medians, spreads, ratios run by run."""

from dataclasses import dataclass
from statistics import median

from workloads import Figure, Workload

OURS = "campanile"
# Shares of a core above which its owner had no time left.
FULL = 0.97


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of several runs."""

    median: float
    low: float
    high: float

    @staticmethod
    def of(values: list[float]) -> "Spread | None":
        return Spread(median(values), min(values), max(values)) if values else None

    def __str__(self) -> str:
        if self.low == self.high:
            return number(self.median)
        return f"{number(self.median)} ({number(self.low)} to {number(self.high)})"


def number(value: float) -> str:
    """Three significant digits, and all those before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


class Results:
    """`raw` is what raw.json holds: `host`, `servers`, `workloads`, `records` and more."""

    def __init__(self, raw: dict, workloads: list[Workload]):
        self.raw = raw
        self.records = raw["records"]
        self.servers: dict[str, dict] = raw["servers"]
        measured = {record["workload"] for record in self.records}
        self.workloads = [workload for workload in workloads if workload.id in measured]

    def label(self, server: str) -> str:
        return self.servers[server]["label"]

    def runs(self, server: str) -> int:
        """In how many runs it took part."""
        return len({record["run"] for record in self.records if record["server"] == server})

    def of(self, workload: Workload, server: str) -> list[dict]:
        return [r for r in self.records if r["workload"] == workload.id and r["server"] == server]

    def servers_of(self, workload: Workload) -> list[str]:
        return [server for server in self.servers if self.of(workload, server)]

    def failures(self, workload: Workload, server: str) -> list[str]:
        return [record["failed"] for record in self.of(workload, server) if "failed" in record]

    def values(self, workload: Workload, server: str, figure: Figure) -> dict[int, float]:
        """Run → value, of the runs that did not fail and have it."""
        values = {}
        for record in self.of(workload, server):
            value = None if "failed" in record else record["result"].get(figure.name)
            if value is not None:
                values[record["run"]] = value / figure.divisor
        return values

    def spread(self, workload: Workload, server: str, figure: Figure) -> Spread | None:
        return Spread.of(list(self.values(workload, server, figure).values()))

    def ratio(self, workload: Workload, peer: str, figure: Figure) -> Spread | None:
        """Ours to the peer's, run by run."""
        ours, theirs = (self.values(workload, server, figure) for server in (OURS, peer))
        return Spread.of([ours[run] / theirs[run] for run in ours if theirs.get(run)])

    def losses(self, workload: Workload) -> list[tuple[str, Figure]]:
        """The peers whose median is below ours, and in which figure."""
        losses = []
        for figure in filter(None, (workload.figure, workload.second)):
            ours = self.spread(workload, OURS, figure)
            for peer in self.servers_of(workload):
                theirs = self.spread(workload, peer, figure)
                if ours and theirs and peer != OURS and theirs.median < ours.median:
                    losses.append((peer, figure))
        return losses

    def load_was_full(self, workload: Workload, server: str) -> bool:
        """Whether the load had no time left while the server had: then it is the load that was measured."""
        shares = []
        for name in ("load_cpu_share", "server_cpu_share"):
            spread = self.spread(workload, server, Figure(name, name))
            if spread is None:
                return False
            shares.append(spread.median)
        return shares[0] > FULL >= shares[1]
