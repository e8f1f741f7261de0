"""How long a client may take and how much it may send, per connection and in all.

Each phase of a request has one deadline that single bytes do not extend (stack.md's measurements: a server
without them is held up by a few silent clients).
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Times in seconds, sizes in bytes."""

    handshake: float = 5.0
    header: float = 10.0
    """From a request's first byte to the end of its head."""
    body: float = 30.0
    """From there to the end of its body; streamed bodies have `stall` for each piece instead."""
    idle: float = 120.0
    """Between requests."""
    stall: float = 60.0
    """For a client that takes nothing of its answer, or gives nothing of a streamed body."""
    linger: float = 2.0
    """For a refused client to stop sending, so that it can read why."""

    linger_bytes: int = 16 << 20
    """And how much of what it sends meanwhile is thrown away."""

    header_bytes: int = 64 << 10
    body_bytes: int = 64 << 20
    connections: int = 8192
    threads: int = 8
    waiting: int = 512
    """Requests that wait for a thread; further ones get 503."""
    events: int = 1024
    """Events that wait for a subscriber; one more, and it is dropped (contract/bbs-api.md section 5)."""
    write_high: int = 256 << 10
    """Unsent bytes of an answer above which no more is made."""
    read_high: int = 256 << 10
    """Unread bytes of a streamed body above which no more is read."""

    @property
    def tick(self) -> float:
        """How often the deadlines are looked at."""
        shortest = min(self.header, self.body, self.idle, self.stall, self.linger)
        return min(0.5, shortest / 4)
