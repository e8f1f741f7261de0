"""The access log: a line for each request, written aside, in a bounded file that may be moved away."""

import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from diego.runtime import access_log, logs
from diego.runtime.access_log import AccessLog
from diego.runtime.connection import Request

UUID = "2cb8f1a0-41c7-4c4b-9d1d-4d9ee1a8a31e"


def a_request(path: str = "/v1/ping", **headers: str) -> Request:
    request = Request()
    request.method, request.target = b"POST", path.encode()
    request.fields = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return request


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_tells_what_was_asked_by_whom_and_how_it_ended(tmp_path: Path) -> None:
    log = AccessLog("bbs", tmp_path / "access.log")

    log.note(a_request("/v1/ping?x=1", X_Vcap_Request_Id=UUID), 200, 4, 0.0123456, "10.0.0.1:5000")
    log.write()

    (line,) = lines(tmp_path / "access.log")
    assert (line["level"], line["source"], line["message"]) == ("info", "bbs.access", "bbs.access.request")
    assert line["data"] == {
        "method": "POST",
        "request": "/v1/ping?x=1",
        "remote_addr": "10.0.0.1:5000",
        "status": 200,
        "bytes": 4,
        "seconds": 0.012346,
        "request_id": UUID,
        "trace-id": UUID.replace("-", ""),
    }


def test_a_request_id_that_is_no_number_makes_no_trace(tmp_path: Path) -> None:
    log = AccessLog("bbs", tmp_path / "access.log")

    log.note(a_request(x_vcap_request_id="by hand"), 200, 0, 0, "")
    log.write()

    (line,) = lines(tmp_path / "access.log")
    assert line["data"]["request_id"] == "by hand"
    assert "trace-id" not in line["data"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path, replaced: bool) -> None:
    log = AccessLog("bbs", tmp_path / "access.log")
    log.note(a_request("/first"), 200, 0, 0, "")
    log.write()

    (tmp_path / "access.log").rename(tmp_path / "moved")
    if replaced:
        (tmp_path / "access.log").touch()
    log.note(a_request("/second"), 200, 0, 0, "")
    log.write()

    assert [line["data"]["request"] for line in lines(tmp_path / "moved")] == ["/first"]
    assert [line["data"]["request"] for line in lines(tmp_path / "access.log")] == ["/second"]


def test_a_full_file_is_kept_beside_and_the_oldest_goes(tmp_path: Path) -> None:
    log = AccessLog("bbs", tmp_path / "access.log", file_bytes=1000, kept=2)

    for number in range(100):
        log.note(a_request(f"/{number}"), 200, 0, 0, "")
        log.write()

    files = sorted(file.name for file in tmp_path.iterdir())
    assert files == ["access.log", "access.log.1", "access.log.2"]
    assert all(file.stat().st_size <= 1000 for file in tmp_path.iterdir())
    assert lines(tmp_path / "access.log")[-1]["data"]["request"] == "/99"


def test_what_cannot_be_written_is_counted_and_told_once(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    log = AccessLog("bbs", tmp_path / "absent" / "access.log")

    for _ in range(3):
        log.note(a_request(), 200, 0, 0, "")
        log.write()

    assert (log.written, log.dropped) == (0, 3)
    assert capfd.readouterr().out.count("bbs.access-log-not-written") == 1
    (tmp_path / "absent").mkdir()
    log.note(a_request(), 200, 0, 0, "")
    log.write()
    assert (log.written, log.dropped) == (1, 3)


def test_a_line_torn_by_a_full_disk_spoils_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, write = AccessLog("bbs", tmp_path / "access.log"), os.write
    full = iter([True, True])

    def until_the_disk_is_full(descriptor: int, data: bytes) -> int:
        state = next(full, None)
        if state is None:
            return write(descriptor, data)
        if data.startswith(b"{"):
            return write(descriptor, data[:20])
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(os, "write", until_the_disk_is_full)
    for path in ("/torn", "/whole"):
        log.note(a_request(path), 200, 0, 0, "")
        log.write()

    torn, whole = (tmp_path / "access.log").read_text().splitlines()
    assert len(torn) == 20
    assert json.loads(whole)["data"]["request"] == "/whole"
    assert (log.written, log.dropped) == (1, 1)


def test_notes_that_nobody_writes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "WAITING", 10)
    log = AccessLog("bbs", tmp_path / "access.log")

    for _ in range(15):
        log.note(a_request("/" + "x" * 10_000), 200, 0, 0, "")
    log.write()

    assert (log.written, log.dropped) == (10, 5)
    assert (tmp_path / "access.log").stat().st_size < 10 * 3_000


def test_the_last_lines_are_written_when_the_job_stops(tmp_path: Path) -> None:
    log, stopping = AccessLog("bbs", tmp_path / "access.log"), threading.Event()
    writer = threading.Thread(target=log.run, args=(stopping,))
    writer.start()

    stopping.set()
    log.note(a_request(), 200, 0, 0, "")
    writer.join(20)

    assert not writer.is_alive()
    assert len(lines(tmp_path / "access.log")) == 1


@pytest.mark.parametrize("text", ["", "not a number", "1234", "0" * 32, UUID + "::more"])
def test_only_a_number_of_128_bits_is_a_trace(text: str) -> None:
    assert logs.trace(text) == {}
