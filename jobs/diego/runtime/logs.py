"""Log lines: one JSON object per line on standard output, in the form of the original's logger.

    {"timestamp": "1700000000.123456789", "level": "info", "source": "bbs", "message": "bbs.started", "data": {}}

contract/config-and-metrics.md section 2: the time is a text of seconds since the epoch, or RFC 3339 in UTC. Who
runs the job keeps and bounds the lines (supervisor rotates them).
"""

import contextlib
import os
import re
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import orjson

LINE_LIMIT = 64 << 10
"""Bytes: no single text in a line is longer, whatever a peer may have sent us."""


class Level(IntEnum):
    """How bad it is, with the numbers of the original."""

    DEBUG = 0
    INFO = 1
    ERROR = 2
    FATAL = 3


@dataclass
class _Settings:
    level: Level = Level.INFO
    rfc3339: bool = False
    longest_text: int = LINE_LIMIT
    descriptor: int = 1


_settings = _Settings()
_write = threading.Lock()


def configure(
    *, level: str = "info", time_format: str = "unix-epoch", longest_text: int = 0, descriptor: int = 1
) -> None:
    """Set the process's log level, form of time, and where longer texts are cut (0: only at the line limit)."""
    set_level(level)
    _settings.rfc3339 = time_format == "rfc3339"
    _settings.longest_text = min(longest_text or LINE_LIMIT, LINE_LIMIT)
    _settings.descriptor = descriptor


def set_level(text: str) -> Level:
    """Change the level by its name, first letter or number. Raises ValueError."""
    text = text.strip().lower()
    for level in Level:
        if text in {level.name.lower(), level.name[0].lower(), str(level.value)}:
            _settings.level = level
            return level
    raise ValueError(f"not a log level (debug, info, error, fatal): {text!r}")


def level() -> Level:
    """The present level: less important events are not written."""
    return _settings.level


@dataclass(frozen=True, slots=True)
class Logger:
    """Writes events of one source. `with_fields` makes one that adds the same fields to every event."""

    source: str
    fields: tuple[tuple[str, Any], ...] = ()

    def with_fields(self, **fields: Any) -> "Logger":
        return Logger(self.source, (*self.fields, *fields.items()))

    def debug(self, event: str, **fields: Any) -> None:
        self._log(Level.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._log(Level.INFO, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._log(Level.ERROR, event, fields)

    def fatal(self, event: str, **fields: Any) -> None:
        self._log(Level.FATAL, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the exception at hand and where it came from."""
        error = sys.exc_info()[1]
        self._log(Level.ERROR, event, {"error": repr(error), "trace": traceback.format_exc(), **fields})

    def _log(self, level: Level, event: str, fields: dict[str, Any]) -> None:
        if level < _settings.level:
            return
        _put(line(self.source, level, event, {**dict(self.fields), **fields}, time.time_ns()))


def get_logger(source: str) -> Logger:
    return Logger(source)


_TRACE_ID = re.compile(r"[0-9a-f]{32}")


def trace(request_id: str) -> dict[str, str]:
    """What a line says of the request that it belongs to: its id as a hexadecimal number, if it is one.

    contract/bbs-api.md section 1: without its dashes a UUID is a trace id; of any other text nothing is logged.
    """
    number = request_id.replace("-", "").lower()
    return {"trace-id": number} if _TRACE_ID.fullmatch(number) and number.strip("0") else {}


def line(source: str, level: Level, event: str, fields: dict[str, Any], now_ns: int) -> bytes:
    """One line, with the line's end."""
    record = {
        "timestamp": _timestamp(now_ns),
        "level": level.name.lower(),
        "source": source,
        "message": f"{source}.{event}",
        "data": {key: _cut(value) for key, value in fields.items()},
    }
    return orjson.dumps(record, default=str, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)


def _timestamp(now_ns: int) -> str:
    seconds, rest = divmod(now_ns, 1_000_000_000)
    if not _settings.rfc3339:
        return f"{seconds}.{rest:09d}"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{rest:09d}Z"


def _cut(value: Any) -> Any:
    """The value as it may stand in a line: texts bounded, and only what UTF-8 can hold."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        if len(value) > _settings.longest_text:
            value = value[: _settings.longest_text] + "-(truncated)"
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, BaseException):
        return _cut(str(value) or repr(value))
    return value


def _put(line: bytes) -> None:
    with _write, contextlib.suppress(OSError):
        # Standard output is gone when supervisor is. There is no other place to tell that, and the job goes on.
        while line:
            line = line[os.write(_settings.descriptor, line) :]
