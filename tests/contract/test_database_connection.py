"""Exchanges with the database that go past the driver's own ways: many statements at once, long texts as they come."""

import time
from collections.abc import Iterator

import pytest

from diego.bbs.store.statements import encoded, values
from diego.database import BadValue, Connection, ConnectionLost, Duplicate, Settings, parse_data_source
from diego.database.pool import READ_COMMITTED
from support.mariadb import Database

pytestmark = pytest.mark.database

SECONDS = 60.0


@pytest.fixture
def connection(database: Database) -> Iterator[Connection]:
    settings = Settings(
        source=parse_data_source(database.dsn), ca_file=database.ca_file, verify_identity=False
    )
    made = Connection(
        settings, tls=settings.tls(), isolation=READ_COMMITTED, deadline=time.monotonic() + SECONDS
    )
    made.allow(time.monotonic() + SECONDS)
    made.run("CREATE TABLE things (id INT PRIMARY KEY, name VARCHAR(10), text LONGTEXT)")
    yield made
    made.discard()


def names(connection: Connection) -> list[str]:
    return [str(name) for (name,) in connection.rows("SELECT name FROM things ORDER BY id")]


def test_statements_that_are_sent_together_are_answered_in_order(connection: Connection) -> None:
    many = ",".join(f"({number},'many','')" for number in range(10, 310))

    counts = connection.run_all(
        [
            b"INSERT INTO things VALUES (1,'a',''),(2,'b','')",
            b"UPDATE things SET name = 'c' WHERE id = 3",
            f"INSERT INTO things VALUES {many}".encode(),
            b"DELETE FROM things WHERE name = 'many'",
        ]
    )

    assert counts == [2, 0, 300, 300]
    assert names(connection) == ["a", "b"]


def test_the_first_failure_is_told_and_the_connection_goes_on(connection: Connection) -> None:
    statements = [
        b"INSERT INTO things VALUES (1,'a','')",
        b"INSERT INTO things VALUES (1,'again','')",
        b"INSERT INTO things VALUES (2,'much too long a name','')",
        b"INSERT INTO things VALUES (3,'c','')",
    ]

    with pytest.raises(Duplicate):
        connection.run_all(statements)

    assert names(connection) == ["a", "c"]
    connection.try_roll_back()
    assert names(connection) == []


def test_a_value_that_does_not_fit_is_told_as_such(connection: Connection) -> None:
    with pytest.raises(BadValue):
        connection.run_all([b"INSERT INTO things VALUES (1,'much too long a name','')"])

    assert connection.usable


def test_a_connection_that_was_closed_is_lost(connection: Connection) -> None:
    connection.discard()

    with pytest.raises(ConnectionLost):
        connection.run_all([b"DELETE FROM things"])


@pytest.mark.parametrize("length", [0, 1, 250, 251, 252, 65_535, 65_536, 3_000_000])
def test_a_text_of_any_length_comes_as_it_is(connection: Connection, length: int) -> None:
    connection.run("INSERT INTO things VALUES (1, 'a', %s), (2, NULL, 'next')", ("x" * length,))

    found = list(connection.stream_rows("SELECT id, text, name FROM things ORDER BY id"))

    assert found == [["1", "x" * length, "a"], ["2", "next", None]]


def test_after_a_stream_the_connection_takes_further_statements(connection: Connection) -> None:
    connection.run("INSERT INTO things VALUES (1, 'a', 'text')")

    for _ in range(3):
        assert list(connection.stream_rows("SELECT text FROM things")) == [["text"]]

    assert names(connection) == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "'",
        "\\",
        "\\'",
        "'; DROP TABLE things; --",
        "a\0b\x1a\n\r\t",
        '"`%s{}',
        "ä☃𝄞",
        "\\" * 3,
        "'" * 4 + "\\0",
    ],
    ids=repr,
)
def test_a_text_in_a_statement_is_read_back_as_it_was(connection: Connection, text: str) -> None:
    connection.run_all([encoded(f"INSERT INTO things VALUES {values((1, None, text))}")])

    assert connection.rows("SELECT name, text FROM things") == [(None, text)]
