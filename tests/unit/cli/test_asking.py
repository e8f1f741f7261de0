"""Quick questions over a bare socket: what counts as an answer."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socket import SOCK_STREAM, create_server

import pytest

from diego.cli.asking import Asker, NotAnswered, side_by_side

TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@contextmanager
def answering(*pieces: bytes) -> Iterator[str]:
    """A server that sends these bytes to whoever connects, and closes."""
    with create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                for piece in pieces:
                    connection.sendall(piece)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join()
        assert server.type == SOCK_STREAM


def test_an_answer_may_come_in_pieces_and_end_with_the_connection() -> None:
    with answering(b"HTTP/1.0 200 OK\r\nX: y\r", b"\n\r\n{", b'"a": 1}') as url:
        assert Asker(TLS, 10).json(url, "/") == {"a": 1}


def test_an_answer_of_known_length_ends_there() -> None:
    with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]") as url:
        assert Asker(TLS, 10).json(url, "/") == []


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n[]", 0, "the answer broke off"),
        (b"SSH-2.0-something\r\n\r\n", 0, "the answer is not HTTP"),
        (b"", 0, "the answer is not HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", 0, "invalid literal"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", 404, "answers 404 to /here"),
        (b"HTTP/1.1 200 OK\r\n\r\nhello", 200, "does not answer with JSON to /here"),
    ],
)
def test_what_is_no_usable_answer_is_told(answer: bytes, status: int, text: str) -> None:
    with answering(answer) as url, pytest.raises(NotAnswered, match=text) as caught:
        Asker(TLS, 10).json(url, "/here")

    assert caught.value.status == status


def test_other_statuses_are_answers_where_that_is_said() -> None:
    with answering(b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}") as url:
        assert Asker(TLS, 10).json(url, "/", accept=frozenset({200, 503})) == {}


def test_nobody_there_is_told_with_the_address() -> None:
    with pytest.raises(NotAnswered, match=r"^https://127\.0\.0\.1:1: "):
        Asker(TLS, 10).json("https://127.0.0.1:1", "/")


def test_calls_go_side_by_side_and_a_failure_is_kept_with_its_key() -> None:
    def fail() -> None:
        raise NotAnswered("no")

    met = threading.Barrier(2)
    answers = side_by_side(
        {"a": lambda: met.wait(30) >= 0, "b": lambda: met.wait(30) >= 0, "c": fail}, at_once=3
    )

    assert (answers["a"], answers["b"]) == (True, True)
    assert str(answers["c"]) == "no"
    assert side_by_side({}) == {}
