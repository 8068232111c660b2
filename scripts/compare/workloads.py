"""The workloads: what `campanile load` is asked for, and which of its figures count."""

from dataclasses import dataclass, field, replace

# Options of the load that say how large a workload is, and how small they are in a trial.
TRIAL = {
    "connections": 40,
    "warm-connections": 20,
    "subscribers": 30,
    "publishers": 2,
    "rooms": 3,
    "room-size": 4,
    "rate": 500,
    "hold": "0s",
}

SERVER_CPU = "server_cpu_us_per_message"
CORE_BUSY = "core_busy_us_per_message"


@dataclass(frozen=True)
class Figure:
    """One field of the load's answer, what it is called, and what it is divided by."""

    name: str
    label: str
    divisor: float = 1.0


RATE = Figure("messages_per_s", "messages/s")
# The load counts what was received: in a fan-out, deliveries.
DELIVERY_RATE = Figure("messages_per_s", "deliveries/s")
SHARES = [Figure("server_cpu_share", "server, %", 0.01), Figure("load_cpu_share", "load, %", 0.01)]
LATENCIES = [
    Figure("latency_p50_us", "p50, µs"),
    Figure("latency_p99_us", "p99, µs"),
    Figure("latency_p999_us", "p99.9, µs"),
]


@dataclass(frozen=True)
class Workload:
    """`figure` is what servers are compared by, lower is better; `second` stands beside it."""

    id: str
    title: str
    app: str
    mode: str
    options: dict
    figure: Figure
    second: Figure | None = None
    further: list[Figure] = field(default_factory=list)
    timed: bool = True

    def arguments(self, seconds: float, url: str) -> list[str]:
        options = {"url": url, **self.options}
        if self.timed:
            options |= {"warm-up": f"{min(1.0, seconds / 2):g}s", "duration": f"{seconds:g}s"}
        arguments = ["load", self.mode]
        for name, value in options.items():
            arguments += [f"--{name}"] if value is True else [f"--{name}", str(value)]
        return arguments

    def figures(self) -> list[Figure]:
        return [self.figure, *([self.second] if self.second else []), *self.further]

    def path(self) -> str:
        return "/ws/{room}" if self.app == "chat" else "/"

    def small(self) -> "Workload":
        """The same with few connections, to see that it runs."""
        small = dict(self.options)
        for name, most in TRIAL.items():
            if name in small:
                small[name] = most if isinstance(most, str) else min(small[name], most)
        return replace(self, options=small)


def echo(id: str, title: str, **options) -> Workload:
    options = {name.replace("_", "-"): value for name, value in options.items()}
    cpu = Figure(SERVER_CPU, "server CPU, µs per message")
    busy = Figure(CORE_BUSY, "core busy, µs")
    return Workload(id, title, "echo", "echo", options, cpu, busy, [RATE, *SHARES, *LATENCIES[:2]])


def deliveries(id: str, title: str, app: str, mode: str, **options) -> Workload:
    """A fan-out. Here the time its core was busy counts, since io_uring does some of what a send
    costs outside of the process's account."""
    options = {name.replace("_", "-"): value for name, value in options.items()}
    busy = Figure(CORE_BUSY, "core busy, µs per delivery")
    cpu = Figure(SERVER_CPU, "server CPU, µs")
    return Workload(id, title, app, mode, options, busy, cpu, [DELIVERY_RATE, *SHARES, *LATENCIES[:2]])


def fanout(id: str, title: str, **options) -> Workload:
    return deliveries(id, title, "broadcast", "fanout", **options)


def chat(id: str, title: str, **options) -> Workload:
    return deliveries(id, title, "chat", "chat", **options)


def paced(id: str, title: str, app: str, mode: str, **options) -> Workload:
    """Latency at a given rate, which every server keeps up with."""
    further = [LATENCIES[2], DELIVERY_RATE if mode == "fanout" else RATE, *SHARES]
    return Workload(id, title, app, mode, options, LATENCIES[1], LATENCIES[0], further)


HANDSHAKES = Workload(
    "C1",
    "10,000 opening handshakes",
    "echo",
    "connect",
    {"connections": 10_000, "hold": "0s"},
    Figure("server_cpu_us_per_handshake", "server CPU, µs per handshake"),
    None,
    [Figure("handshakes_per_s", "handshakes/s"), *SHARES],
    timed=False,
)

IDLE = Workload(
    "D1",
    "15,000 idle connections",
    "echo",
    "connect",
    {"connections": 15_000, "warm-connections": 2048, "hold": "10s", "exchange": True},
    Figure("server_rss_bytes_per_connection", "RSS per connection, B"),
    Figure("slab_bytes_per_pair", "kernel's slab per pair, B"),
    [
        Figure("server_rss_bytes_per_connection_after_echo", "RSS after an exchange, B"),
        Figure("slab_bytes_per_pair_after_echo", "slab after it, B"),
        Figure("server_rss_after_bytes", "RSS in all, MiB", 1 << 20),
    ],
    timed=False,
)

WORKLOADS = [
    echo("E1", "echo, 64 connections, 1 in flight", connections=64, in_flight=1),
    echo("E2", "echo, 64 connections, 32 in flight", connections=64, in_flight=32),
    echo("E3", "echo, 10,000 connections, 1 in flight", connections=10_000, in_flight=1),
    fanout("F1", "32 publishers, 32 subscribers", publishers=32, subscribers=32, in_flight=1),
    fanout("F2", "1 publisher, 1,000 subscribers", publishers=1, subscribers=1000, in_flight=1),
    fanout("F3", "1 publisher, 10,000 subscribers", publishers=1, subscribers=10_000, in_flight=1),
    fanout("F4", "32 publishers, 16 in flight, 1,000 subscribers",
           publishers=32, subscribers=1000, in_flight=16),
    paced("L1", "echo, 64 connections, 50,000 messages/s", "echo", "echo", connections=64, rate=50_000),
    paced("L2", "100 messages/s to 1,000", "broadcast", "fanout", publishers=1, subscribers=1000, rate=100),
    HANDSHAKES,
    IDLE,
    chat("A1a", "chat: one room of 32, all publish, 4 in flight",
         rooms=1, room_size=32, publishers=32, in_flight=4),
    chat("A1b", "chat: one room of 1,000, 16 publish, 4 in flight",
         rooms=1, room_size=1000, publishers=16, in_flight=4),
    chat("A1c", "chat: one room of 1,000, 1 publishes", rooms=1, room_size=1000, publishers=1, in_flight=1),
    chat("A1d", "chat: 100 rooms of 10, 2 in each publish", rooms=100, room_size=10, publishers=2, in_flight=1),
    chat("A1m", "chat: 100 rooms of 10, with typing, joins, pings and reconnects",
         rooms=100, room_size=10, publishers=2, in_flight=1, mix="mixed"),
]
