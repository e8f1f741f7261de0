"""Limits of what an instance may log (contract/executor.md section 10).

A token bucket per container holds for all its sources and both streams: it
refills at the limit and holds at most one second's worth. Whoever asks for
more than is there causes one notice, and for the next second everything is
dropped.
"""

from dataclasses import dataclass

UNLIMITED = -1
SILENCE = 1.0
"""Seconds in which everything is dropped after a limit was exceeded."""


class TokenBucket:
    """`rate` tokens a second, at most `rate` of them saved up."""

    def __init__(self, rate: int, now: float) -> None:
        self._rate = rate
        self._tokens = float(rate)
        self._filled_at = now

    def take(self, amount: int, now: float) -> bool:
        """Take `amount` tokens, all of them or none."""
        self._tokens = min(float(self._rate), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if amount > self._tokens:
            return False
        self._tokens -= amount
        return True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of one message: written or not, and a notice about the limit that was just exceeded."""

    write: bool
    notice: str = ""


class LogLimit:
    """The limits of one container.

    Args:
        bytes_per_second: -1 for none; 0 drops everything, silently.
        lines_per_second: the cell's own limit, 0 for none.
    """

    def __init__(self, bytes_per_second: int, lines_per_second: int, now: float) -> None:
        self._bytes_per_second = bytes_per_second
        self._lines_per_second = lines_per_second
        self._bytes = TokenBucket(bytes_per_second, now) if bytes_per_second > 0 else None
        self._lines = TokenBucket(lines_per_second, now) if lines_per_second > 0 else None
        self._silent_until = now

    def judge(self, size: int, now: float) -> Verdict:
        """Decide about a message of `size` bytes."""
        if self._bytes_per_second == 0 or now < self._silent_until:
            return Verdict(write=False)
        if self._lines is not None and not self._lines.take(1, now):
            return self._exceeded(
                f"app instance exceeded log rate limit ({self._lines_per_second} log-lines/sec)"
                " set by platform operator",
                now,
            )
        if self._bytes is not None and not self._bytes.take(size, now):
            return self._exceeded(
                f"app instance exceeded log rate limit ({self._bytes_per_second} bytes/sec)", now
            )
        return Verdict(write=True)

    def _exceeded(self, notice: str, now: float) -> Verdict:
        self._silent_until = now + SILENCE
        return Verdict(write=False, notice=notice)
