"""contract/lifecycle.md section 13: what the database's errors mean."""

import pymysql.err
import pytest

from diego.database import errors


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1062, errors.Duplicate),
        (1213, errors.Deadlock),
        (1205, errors.Deadlock),
        (1406, errors.BadValue),
        (1146, errors.MissingTable),
        (2006, errors.ConnectionLost),
        (2013, errors.ConnectionLost),
        (1064, errors.DatabaseError),
    ],
)
def test_each_error_of_the_database_has_its_kind(code: int, kind: type[errors.DatabaseError]) -> None:
    error = errors.translate(pymysql.err.OperationalError(code, "said by the server"))

    assert type(error) is kind
    assert (error.code, error.cause) == (code, "said by the server")


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (1062, "sql-resource-exists"),
        (1213, "sql-deadlock"),
        (1406, "sql-bad-request"),
        (1146, "sql-unrecoverable"),
        (1064, "sql-unknown, error code: 1064, flavor: mysql"),
        (2013, "sql-unknown, error code: 2013, flavor: mysql"),
    ],
)
def test_each_error_of_the_database_has_its_text(code: int, text: str) -> None:
    assert errors.translate(pymysql.err.ProgrammingError(code, "said by the server")).text == text
