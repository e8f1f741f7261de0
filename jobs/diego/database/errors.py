"""What can go wrong with a statement, named by what the caller can do about it.

The texts are the original's (contract/locket.md section 2, contract/lifecycle.md section 13).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pymysql

FLAVOR = "mysql"

CR_CONNECTION_ERROR = 2002
CR_CONN_HOST_ERROR = 2003
CR_SERVER_GONE_ERROR = 2006
CR_SERVER_LOST = 2013

_DUPLICATE = {1062}
_DEADLOCK = {1213, 1205, 1020}
"""1213 is also how Galera reports a failed certification, 1205 a lock waited for in vain, 1020 a changed row."""
_BAD_VALUE = {1406, 1264, 1366}
_MISSING_TABLE = {1146, 1049}
_LOST = {
    0,
    CR_CONNECTION_ERROR,
    CR_CONN_HOST_ERROR,
    CR_SERVER_GONE_ERROR,
    CR_SERVER_LOST,
    1040,  # too many connections
    1047,  # WSREP has not yet prepared node for application use
    1053,  # server shutdown in progress
    1080,  # forced close
    1152,  # aborted connection
    1156, 1157, 1158, 1159, 1160, 1161,  # errors of the network, as the server saw them
    1184,  # aborted connection
    1290,  # read-only: the node is being handed over
    1792,  # read-only transaction
    1927,  # connection was killed
}  # fmt: skip


class DatabaseError(Exception):
    """A statement failed. `code` is the server's or the driver's number, 0 if there is none."""

    def __init__(self, text: str, code: int = 0, cause: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code
        self.cause = cause
        """What the server or the driver said, for logs."""


class Duplicate(DatabaseError):
    """A row with this key exists."""


class Deadlock(DatabaseError):
    """The transaction was rolled back in favour of another one; the same again may succeed."""


class BadValue(DatabaseError):
    """A value does not fit its column."""


class MissingTable(DatabaseError):
    """The schema is not there: nothing will succeed."""


class ConnectionLost(DatabaseError):
    """The server cannot be reached, or was lost. What was under way may or may not have happened."""


class DeadlineExceeded(DatabaseError):
    """The time allowed for the work is over. What was under way may or may not have happened."""


def translate(error: pymysql.err.MySQLError) -> DatabaseError:
    """The driver's error as one of ours."""
    code = error.args[0] if error.args and isinstance(error.args[0], int) else 0
    cause = str(error.args[1]) if len(error.args) > 1 else str(error)
    if code in _DUPLICATE:
        return Duplicate("sql-resource-exists", code, cause)
    if code in _DEADLOCK:
        return Deadlock("sql-deadlock", code, cause)
    if code in _BAD_VALUE:
        return BadValue("sql-bad-request", code, cause)
    if code in _MISSING_TABLE:
        return MissingTable("sql-unrecoverable", code, cause)
    text = f"sql-unknown, error code: {code}, flavor: {FLAVOR}"
    if code in _LOST:
        return ConnectionLost(text, code, cause)
    return DatabaseError(text, code, cause)


@contextmanager
def translated() -> Iterator[None]:
    """Inside, the driver's errors leave as ours."""
    try:
        yield
    except pymysql.err.MySQLError as error:
        raise translate(error) from error
    except (OSError, EOFError) as error:
        raise ConnectionLost(
            f"sql-unknown, error code: {CR_SERVER_LOST}, flavor: {FLAVOR}", CR_SERVER_LOST, str(error)
        ) from error
