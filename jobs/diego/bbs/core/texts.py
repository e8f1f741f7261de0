"""Texts that must fit into a column (contract/lifecycle.md section 1)."""

REASON_BYTES = 1024
MARK = b"(truncated)"


def cut_reason(reason: str) -> str:
    """A failure reason, crash reason or placement error as its column takes it.

    A text of 1024 bytes or more is cut to 1013 bytes and says so; a character that the cut would
    divide is dropped.
    """
    encoded = reason.encode()
    if len(encoded) < REASON_BYTES:
        return reason
    return (encoded[: REASON_BYTES - len(MARK)]).decode(errors="ignore") + MARK.decode()
