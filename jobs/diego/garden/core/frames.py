"""The frames of a process's main connection: one JSON object per line, both ways (section 2.2)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from signal import SIGKILL, SIGTERM, Signals
from typing import Any

from diego.garden.core.specs import WindowSize
from diego.garden.errors import GardenError

LONGEST = 1 << 20
SIGNALS = {0: SIGTERM, 1: SIGKILL}


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes for the process's standard input."""

    data: bytes


@dataclass(frozen=True, slots=True)
class EndOfInput:
    """The client will write no more."""


@dataclass(frozen=True, slots=True)
class SendSignal:
    """A signal for the process alone."""

    signal: Signals


@dataclass(frozen=True, slots=True)
class Resize:
    """The client's terminal has a new size."""

    window: WindowSize


@dataclass(frozen=True, slots=True)
class Nothing:
    """A frame that asks for nothing this engine knows."""


Asked = Input | EndOfInput | SendSignal | Resize | Nothing


class Lines:
    """Cuts what arrives into lines, and does not grow beyond one longest frame."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now.

        Raises:
            GardenError: a line is longer than any frame may be.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST:
            raise GardenError("a frame is longer than 1 MiB")
        return [line for line in lines if line.strip()]


def decode(line: bytes) -> Asked:
    """What a client's frame asks for; examined in the order tty, source, signal.

    Raises:
        GardenError: the line is no JSON object.
    """
    frame = _object(line)
    tty, source, number = frame.get("tty"), frame.get("source"), frame.get("signal")
    if isinstance(tty, dict):
        size = tty.get("window_size")
        if isinstance(size, dict):
            return Resize(WindowSize(size.get("columns") or 80, size.get("rows") or 24))
        return Nothing()
    if source is not None:
        data = frame.get("data")
        return Input(data.encode()) if isinstance(data, str) else EndOfInput()
    if number in SIGNALS:
        return SendSignal(SIGNALS[number])
    return Nothing()


def started(process_id: str, stream_id: str) -> bytes:
    """The first frame: the process runs, and its output is under this stream id."""
    return _line({"process_id": process_id, "stream_id": stream_id})


def exited(process_id: str, status: int) -> bytes:
    """The last frame of a process whose status is known."""
    return _line({"process_id": process_id, "exit_status": status})


def lost(process_id: str, reason: str) -> bytes:
    """The last frame of a process that ended, nobody knows how."""
    return _line({"process_id": process_id, "error": reason})


def send_signal(process_id: str, number: Signals) -> bytes:
    """A client's frame that sends TERM or KILL."""
    return _line({"process_id": process_id, "signal": 1 if number == SIGKILL else 0})


def write_input(process_id: str, text: str) -> bytes:
    """A client's frame with text for the standard input."""
    return _line({"process_id": process_id, "source": 0, "data": text})


def end_input(process_id: str) -> bytes:
    """A client's frame that ends the standard input."""
    return _line({"process_id": process_id, "source": 0})


@dataclass(frozen=True, slots=True)
class FromServer:
    """A server's frame, as a client reads it."""

    process_id: str
    stream_id: str | None
    exit_status: int | None
    error: str | None


def decode_server(line: bytes) -> FromServer:
    """Read a server's frame.

    Raises:
        GardenError: the line is no JSON object.
    """
    frame = _object(line)
    return FromServer(
        str(frame.get("process_id", "")), frame.get("stream_id"), frame.get("exit_status"), frame.get("error")
    )


def _line(frame: dict[str, Any]) -> bytes:
    return json.dumps(frame, separators=(",", ":")).encode() + b"\n"


def _object(line: bytes) -> dict[str, Any]:
    try:
        frame = json.loads(line.decode(errors="replace"))
    except ValueError as error:
        raise GardenError(f"undecodable frame: {error}") from error
    if not isinstance(frame, dict):
        raise GardenError("undecodable frame: not an object")
    return frame
