"""The main connection's frames (contract/garden.md section 2.2)."""

from signal import SIGKILL, SIGTERM

import pytest

from diego.garden.core import frames
from diego.garden.core.frames import EndOfInput, Input, Lines, Nothing, Resize, SendSignal, decode
from diego.garden.core.specs import WindowSize
from diego.garden.errors import GardenError


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        (b'{"process_id":"p","source":0,"data":"text"}', Input(b"text")),
        (b'{"source":1,"data":""}', Input(b"")),
        (b'{"source":0}', EndOfInput()),
        (b'{"signal":0}', SendSignal(SIGTERM)),
        (b'{"signal":1}', SendSignal(SIGKILL)),
        (b'{"signal":2}', Nothing()),
        (b'{"process_id":"p"}', Nothing()),
        (b"{}", Nothing()),
        (b'{"tty":{"window_size":{"columns":100,"rows":50}}}', Resize(WindowSize(100, 50))),
        (b'{"tty":{"window_size":{"columns":0}}}', Resize(WindowSize(80, 24))),
        (b'{"tty":{}}', Nothing()),
        (b'{"tty":{"window_size":{}},"source":0,"signal":1}', Resize(WindowSize())),
        (b'{"source":0,"signal":1}', EndOfInput()),
    ],
)
def test_a_frame_asks_for_one_thing(line: bytes, asked: frames.Asked) -> None:
    assert decode(line) == asked


def test_bytes_that_are_no_text_arrive_as_replacement() -> None:
    assert decode(b'{"source":0,"data":"a\xffb"}') == Input("a\ufffdb".encode())


@pytest.mark.parametrize("line", [b"no json", b"[]", b'"x"'])
def test_what_is_no_frame_is_an_error(line: bytes) -> None:
    with pytest.raises(GardenError, match="undecodable frame"):
        decode(line)


def test_lines_come_in_any_pieces() -> None:
    lines = Lines()

    assert lines.feed(b'{"a"') == []
    assert lines.feed(b':1}\n{"b":2}\n\n{"c') == [b'{"a":1}', b'{"b":2}']
    assert lines.feed(b'":3}\n') == [b'{"c":3}']


def test_an_endless_line_is_refused() -> None:
    lines = Lines()
    lines.feed(b"x" * frames.LONGEST)

    with pytest.raises(GardenError, match="longer than 1 MiB"):
        lines.feed(b"x")


def test_the_server_says_who_started_and_how_it_ended() -> None:
    assert frames.started("p", "7") == b'{"process_id":"p","stream_id":"7"}\n'
    assert frames.exited("p", 137) == b'{"process_id":"p","exit_status":137}\n'
    assert frames.lost("p", "why") == b'{"process_id":"p","error":"why"}\n'


def test_a_client_reads_what_the_server_says() -> None:
    assert frames.decode_server(frames.started("p", "7")).stream_id == "7"
    assert frames.decode_server(frames.exited("p", 0)).exit_status == 0
    assert frames.decode_server(frames.lost("p", "why")).error == "why"


def test_what_a_client_sends_is_read_back() -> None:
    assert decode(frames.send_signal("p", SIGTERM)) == SendSignal(SIGTERM)
    assert decode(frames.send_signal("p", SIGKILL)) == SendSignal(SIGKILL)
    assert decode(frames.write_input("p", "é")) == Input("é".encode())
    assert decode(frames.end_input("p")) == EndOfInput()
