"""Where locks are kept: the one idea is *change under lock*, and no rule hides in a query."""

from collections.abc import Callable
from typing import Protocol

from diego.locket.core.locks import Row

MAX_KEY = 255
"""Characters that a path or an owner may have; more is a `BadValue`."""
MAX_VALUE = 4096


class LockStore(Protocol):
    """A table of rows by path. Every method raises `diego.database.DatabaseError` when the database fails."""

    def create_table(self) -> None:
        """Make the table if it is missing."""

    def ping(self) -> None:
        """Ask the database for a sign of life."""

    def change(
        self, path: str, decide: Callable[[Row | None], Row | None], *, guess: Row | None = None
    ) -> Row | None:
        """Replace the row of `path` by what `decide` makes of it (None: no row), durably; the new row.

        Nobody else changes the row meanwhile. `decide` may be called more than once, and must only depend
        on its argument; what it raises leaves everything as it was. `guess` is what the row was when it was last seen:
        where it still is, it need not be read. What `decide` makes of a guess must be another row, one with another
        index.
        """

    def fetch(self, path: str) -> Row | None:
        """The row of `path`."""

    def fetch_all(self, type_text: str) -> list[Row]:
        """All rows of one type."""

    def rows(self) -> list[Row]:
        """The whole table."""
