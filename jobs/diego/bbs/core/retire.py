"""Ending one instance without changing what is wanted (contract/lifecycle.md section 5, retire).

A record that no cell holds is deleted at once. What runs is ended by its cell, which then removes the
record itself; if the cell is gone, nobody will, so the record is deleted.
"""

from enum import Enum

from diego.models import ActualLRP, ActualLRPState


class Way(Enum):
    """How one instance ends."""

    DELETE = "delete the record"
    ASK_CELL = "look for its cell: stop it there, or delete the record when there is no such cell"


ATTEMPTS = 5


def way(row: ActualLRP) -> Way:
    """How this record's instance ends."""
    if row.state in {ActualLRPState.UNCLAIMED, ActualLRPState.CRASHED}:
        return Way.DELETE
    return Way.ASK_CELL
