"""Where two records that ought to be the same differ."""

from dataclasses import fields
from typing import Any

from diego.models import ActualLRP, DesiredLRP, Domain, Task

Record = Domain | DesiredLRP | ActualLRP | Task

ROW = "row"
"""What differs when one of two records is not there."""


def differences(ours: Record | None, theirs: Record | None) -> list[str]:
    """The names of what differs between a record in memory and its row."""
    if ours is None or theirs is None:
        return [] if ours is theirs else [ROW]
    if ours == theirs:
        return []
    if isinstance(ours, DesiredLRP) and isinstance(theirs, DesiredLRP):
        return _desired(ours, theirs)
    names = [field.name for field in fields(ours) if _value(ours, field.name) != _value(theirs, field.name)]
    return names or [ROW]


def _desired(ours: DesiredLRP, theirs: DesiredLRP) -> list[str]:
    one, other = ours.message(), theirs.message()
    names = [
        field.name
        for field in one.DESCRIPTOR.fields
        if getattr(one, field.name) != getattr(other, field.name)
    ]
    if ours.created_at != theirs.created_at:
        names.append("created_at")
    return names or [ROW]


def _value(record: Record, name: str) -> Any:
    return getattr(record, name)
