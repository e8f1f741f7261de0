"""Texts that people and clients read: durations and sizes the way Go prints them, exit lines, cut reasons.

They follow contract/executor.md sections 2, 5 and 6 to the letter, since tests and dashboards of the original match them.
"""

from collections.abc import Iterable

NANOSECOND, MICROSECOND, MILLISECOND, SECOND = 1, 10**3, 10**6, 10**9
MINUTE, HOUR = 60 * SECOND, 3600 * SECOND

LONGEST_REASON = 10_000
"""Characters of a failure reason; a longer one is cut in its middle (contract/executor.md section 2)."""

LONGEST_UNPACK_ERROR = 1024
"""Bytes of the text about a failed unpacking (contract/executor.md section 5)."""

_TRUNCATED_LINE = "\n... (truncated)\n"
_TRUNCATED_TAIL = " (error truncated)"


def go_duration(nanoseconds: int) -> str:
    """A duration as Go prints it: `1m0.012s`, `1.5ms`, `0s`."""
    if nanoseconds < 0:
        return "-" + go_duration(-nanoseconds)
    if nanoseconds == 0:
        return "0s"
    if nanoseconds < MICROSECOND:
        return f"{nanoseconds}ns"
    if nanoseconds < MILLISECOND:
        return _decimal(nanoseconds, MICROSECOND) + "µs"
    if nanoseconds < SECOND:
        return _decimal(nanoseconds, MILLISECOND) + "ms"
    hours, rest = divmod(nanoseconds, HOUR)
    minutes, rest = divmod(rest, MINUTE)
    seconds = _decimal(rest, SECOND) + "s"
    if hours:
        return f"{hours}h{minutes}m{seconds}"
    return f"{minutes}m{seconds}" if minutes else seconds


def rounded_duration(seconds: float) -> str:
    """`seconds`, rounded to milliseconds, as Go prints it."""
    return go_duration(round(seconds * 1000) * MILLISECOND)


def _decimal(value: int, unit: int) -> str:
    whole, fraction = divmod(value, unit)
    if not fraction:
        return str(whole)
    digits = str(unit + fraction)[1:].rstrip("0")
    return f"{whole}.{digits}"


def byte_size(count: int) -> str:
    """A size in units of 1024 with at most one decimal: `512B`, `10K`, `1.5M`."""
    value, unit = float(count), "B"
    for larger in ("K", "M", "G", "T"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    text = f"{value:.1f}".removesuffix(".0")
    return text + unit


def exit_line(status: int, *, grace: str = "", out_of_memory: bool = False) -> str:
    """What the app's log says of an ended process.

    Args:
        status: exit status, 128 + n after signal n.
        grace: the grace interval (`10s`) when the process outlived it and was killed.
        out_of_memory: whether the container had such an event.
    """
    line = f"Exit status {status}"
    if grace:
        line += f" (exceeded {grace} graceful shutdown interval)"
    return line + " (out of memory)" if out_of_memory else line


def exit_error(source: str, status: int, *, out_of_memory: bool = False) -> str:
    """Why a step failed whose process ended by itself; the crash reason that the BBS records."""
    text = f"{source}: Exited with status {status}"
    return text + " (out of memory)" if out_of_memory else text


def joined(messages: Iterable[str]) -> str:
    """Errors of steps that ran side by side, as one text."""
    return "; ".join(message for message in messages if message)


def shortened_reason(reason: str) -> str:
    """`reason`, cut in its middle when it is longer than what the BBS is told."""
    if len(reason) <= LONGEST_REASON:
        return reason
    kept = LONGEST_REASON - len(_TRUNCATED_LINE)
    head = kept // 2
    return reason[:head] + _TRUNCATED_LINE + reason[len(reason) - (kept - head) :]


def shortened_unpack_error(text: str) -> str:
    """`text`, cut so that it and its mark fit in 1024 bytes."""
    raw = text.encode()
    if len(raw) <= LONGEST_UNPACK_ERROR:
        return text
    kept = raw[: LONGEST_UNPACK_ERROR - len(_TRUNCATED_TAIL)]
    return kept.decode(errors="ignore") + _TRUNCATED_TAIL


def creating(cell: str, guid: str) -> str:
    return f"Cell {cell} creating container for instance {guid}"


def created(cell: str, guid: str) -> str:
    return f"Cell {cell} successfully created container for instance {guid}"


def creation_failed(cell: str, guid: str, error: str) -> str:
    return f"Cell {cell} failed to create container for instance {guid}: {error}"


def stopping(cell: str, guid: str) -> str:
    return f"Cell {cell} stopping instance {guid}"


def destroying(cell: str, guid: str) -> str:
    return f"Cell {cell} destroying container for instance {guid}"


def destroyed(cell: str, guid: str) -> str:
    return f"Cell {cell} successfully destroyed container for instance {guid}"


def destruction_failed(cell: str, guid: str) -> str:
    return f"Cell {cell} failed to destroy container for instance {guid}"
