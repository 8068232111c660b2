"""What is tried, and what memory it may take."""

from dataclasses import dataclass

import clients

MIB = 1 << 20
# Of the server, as docs/CONFIGURATION.md and src/limits.rs have them.
TOPIC_WINDOW_BYTES = MIB
CHUNK_BYTES = 64 * 1024
POOLED_CHUNKS_BYTES = 4 * MIB
RECV_BUFFERS_BYTES = 4 * MIB
# What a subscriber whose socket is full is sent at once, which is copied.
CATCH_UP_BYTES = 128 * 1024
# A connection's record, its user's and the indexes; a handshake's gathered head.
CONNECTION_BYTES = 1024
HEAD_BYTES = 2 * 1024

CALM_ROOM = "calm"
OTHER_ROOM = "other"


@dataclass(frozen=True)
class Case:
    """`kind`: of clients.py. `blocked`: connections that may have something under way that their
    sockets do not take. `message_bytes`: of the calm room's messages, larger where those who do not read
    must fall behind in time. `is_control`: the disturbance goes to another server, on the load's core."""

    id: str
    title: str
    kind: str
    room: str = OTHER_ROOM
    slow_policy: str = "gap"
    connections: int = 1
    blocked: int = 0
    topics: int = 1
    message_bytes: int = 2048
    is_control: bool = False

    def budget_bytes(self) -> int:
        """What the server may take more than before, by its limits."""
        if self.is_control:
            return 0
        shared = POOLED_CHUNKS_BYTES + RECV_BUFFERS_BYTES
        logs = self.topics * (TOPIC_WINDOW_BYTES + 2 * CHUNK_BYTES)
        each = CONNECTION_BYTES + HEAD_BYTES
        return shared + logs + self.blocked * (CATCH_UP_BYTES + CHUNK_BYTES) + self.connections * each

    def control(self) -> "Case":
        return Case(f"{self.id}-control", f"Control: {self.title[0].lower()}{self.title[1:]}, at another server",
                    self.kind, self.room, self.slow_policy, is_control=True)


FLOOD = clients.FLOOD_SUBSCRIBERS + 1
DISTURBANCES = (
    Case("flood", "A publisher faster than its 200 slow subscribers, in another room", "publisher",
         connections=FLOOD, blocked=FLOOD),
    Case("messages", "One connection sends all it can to itself, in another room", "messages", blocked=1),
    Case("stalled-gap", "20 in the same room never read; policy gap", "stalled", CALM_ROOM,
         connections=clients.STALLED, blocked=clients.STALLED, message_bytes=8192),
    Case("stalled-latest", "20 in the same room never read; policy latest", "stalled", CALM_ROOM, "latest",
         connections=clients.STALLED, blocked=clients.STALLED, message_bytes=8192),
    Case("stalled-disconnect", "20 in the same room never read; policy disconnect", "stalled", CALM_ROOM,
         "disconnect", connections=clients.STALLED, blocked=clients.STALLED, message_bytes=8192),
    Case("storm", "5,000 connections a second come and go", "storm", topics=1,
         connections=clients.STORM_OPEN_MAX + clients.STORM_WAITING),
    Case("half-open", "5,000 handshakes that are never finished", "half_open", topics=0,
         connections=clients.HALF_OPEN),
)
CONTROLLED = ("flood", "messages", "storm", "half-open")
CASES = DISTURBANCES + tuple(case.control() for case in DISTURBANCES if case.id in CONTROLLED)
