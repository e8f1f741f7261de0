"""How output becomes messages, how they are limited, and where they are kept."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.executor.core.lines import LineSplitter
from diego.executor.core.rates import LogLimit, TokenBucket
from diego.executor.core.requests import LogTarget
from diego.executor.logs import ContainerLog, FileLogSink
from support.fake_garden import MemorySink


def test_lines_end_at_newline_and_carriage_return_and_empty_ones_are_dropped() -> None:
    splitter = LineSplitter()

    assert splitter.feed(b"one\r\n\ntwo\rthr") == [b"one", b"two"]
    assert splitter.feed(b"ee\n") == [b"three"]


def test_an_incomplete_line_is_kept_until_it_is_flushed() -> None:
    splitter = LineSplitter()

    assert splitter.feed(b"half") == []
    assert splitter.flush() == [b"half"]
    assert splitter.flush() == []


def test_a_long_line_is_cut_between_characters() -> None:
    splitter = LineSplitter(longest=5)

    assert splitter.feed("aaaa€b\n".encode()) == [b"aaaa", "€b".encode()]


@given(st.lists(st.binary(max_size=40), max_size=20), st.integers(4, 16))
def test_no_byte_of_a_line_is_lost_and_no_message_is_too_long(pieces: list[bytes], longest: int) -> None:
    splitter = LineSplitter(longest)

    messages = [message for piece in pieces for message in splitter.feed(piece)] + splitter.flush()

    assert b"".join(messages) == b"".join(pieces).replace(b"\n", b"").replace(b"\r", b"")
    assert all(0 < len(message) <= longest for message in messages)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 50)), max_size=60), st.integers(1, 100))
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(
    asked: list[tuple[float, int]], rate: int
) -> None:
    bucket = TokenBucket(rate, 0.0)
    now = given_away = 0.0

    for pause, amount in asked:
        now += pause
        if bucket.take(amount, now):
            given_away += amount

    assert given_away <= rate + now * rate + 1e-6


def test_over_the_limit_one_notice_is_written_and_then_everything_is_dropped_for_a_second() -> None:
    limit = LogLimit(100, 0, 0.0)

    assert limit.judge(100, 0.0).write
    exceeded = limit.judge(50, 0.1)
    assert not exceeded.write
    assert exceeded.notice == "app instance exceeded log rate limit (100 bytes/sec)"
    silent = limit.judge(1, 0.9)
    assert (silent.write, silent.notice) == (False, "")
    assert limit.judge(50, 1.2).write


def test_the_platforms_limit_counts_lines() -> None:
    limit = LogLimit(-1, 2, 0.0)

    notice = "app instance exceeded log rate limit (2 log-lines/sec) set by platform operator"
    assert [limit.judge(1000, 0.0).notice for _ in range(4)] == ["", "", notice, ""]
    assert limit.judge(1, 1.1).write
    assert LogLimit(-1, 0, 0.0).judge(1, 0.0).write


def test_a_limit_of_0_drops_everything_silently() -> None:
    verdict = LogLimit(0, 0, 0.0).judge(1, 0.0)

    assert (verdict.write, verdict.notice) == (False, "")


def test_both_streams_and_all_sources_share_the_limit_but_the_cells_own_messages_do_not() -> None:
    sink = MemorySink()
    log = ContainerLog(sink, "guid", LogTarget("log", 3, "APP"), bytes_per_second=10)

    log.output("A", "OUT").feed(b"123456\n")
    log.output("B", "ERR").feed(b"123456\n")
    log.tell("Cell says")

    assert sink.lines == [
        ("A", "OUT", "123456"),
        ("B", "OUT", "app instance exceeded log rate limit (10 bytes/sec)"),
        ("APP", "OUT", "Cell says"),
    ]


@pytest.fixture
def files(tmp_path: Path) -> FileLogSink:
    return FileLogSink(tmp_path / "logs", file_limit=500, files_kept=4)


def write(files: FileLogSink, guid: str, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        files.write(guid, 2, "APP", "OUT", b"line %d" % number)


def test_a_line_says_when_who_which_stream_and_what(files: FileLogSink) -> None:
    files.write("guid", 2, "APP/PROC/WEB", "ERR", b"hello")

    moment, rest = files.tail("guid", 10)[0].decode().split(" ", 1)
    assert rest == "[APP/PROC/WEB/2] ERR hello\n"
    assert moment.endswith("Z")
    assert "T" in moment


def test_an_instance_has_two_files_at_most_and_the_newest_lines(files: FileLogSink, tmp_path: Path) -> None:
    write(files, "guid", 100)

    sizes = {path.name: path.stat().st_size for path in (tmp_path / "logs").iterdir()}
    assert sizes.keys() == {"guid.log", "guid.log.1"}
    assert all(size <= 500 for size in sizes.values())
    assert files.tail("guid", 1)[0].endswith(b"line 99\n")


def test_a_restarted_rep_goes_on_in_the_same_file(files: FileLogSink, tmp_path: Path) -> None:
    write(files, "guid", 2)
    following = FileLogSink(tmp_path / "logs", file_limit=500)
    write(following, "guid", 1, first=2)

    assert [line.rsplit(b" ", 1)[1] for line in following.tail("guid", 10)] == [b"0\n", b"1\n", b"2\n"]


def test_the_oldest_files_of_dead_instances_go(files: FileLogSink, tmp_path: Path) -> None:
    for number in range(8):
        write(files, f"guid-{number}", 1)
        files.forget(f"guid-{number}")
    write(files, "alive", 1)
    files.forget("guid-x")

    names = {path.name for path in (tmp_path / "logs").iterdir()}
    assert len(names) <= 4
    assert "alive.log" in names


def test_a_reader_who_follows_hears_new_lines_until_the_instance_is_gone(files: FileLogSink) -> None:
    async def scene() -> list[bytes]:
        write(files, "guid", 1)
        heard = []
        with files.follow("guid") as follower:
            write(files, "guid", 2, first=1)
            asyncio.get_running_loop().call_later(0.01, files.forget, "guid")
            async for line in follower.lines():
                heard.append(line)  # noqa: PERF401  what came is wanted even if it does not end
        return heard

    assert [line.rsplit(b" ", 1)[1] for line in asyncio.run(scene())] == [b"1\n", b"2\n"]


def test_following_a_dead_instance_ends_at_once(files: FileLogSink) -> None:
    async def scene() -> list[bytes]:
        with files.follow("nobody") as follower:
            return [line async for line in follower.lines()]

    assert asyncio.run(scene()) == []
