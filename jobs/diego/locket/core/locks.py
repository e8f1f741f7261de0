"""Who gets a lock (contract/locket.md section 3).

A row belongs to its owner until it is released or has expired, whatever its age: a time stamp is nowhere.
What a refresh changes is told by `modified_index`, and `modified_id` tells one life of a row from the next.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

MAX_INDEX = 2**63 - 1


class Kind(IntEnum):
    """The two types of resource, with their numbers on the wire."""

    LOCK = 1
    PRESENCE = 2

    @property
    def text(self) -> str:
        """The name that the table and the old field `type` have for it."""
        return self.name.lower()


KINDS_BY_TEXT = {kind.text: kind for kind in Kind}


class Refused(Exception):
    """A request that locket answers with an error. `text` is the original's."""

    text = ""

    def __init__(self) -> None:
        super().__init__(self.text)


class Collision(Refused):
    """Somebody else holds the key."""

    text = "lock-collision"


class NotFound(Refused):
    """Nobody holds the key."""

    text = "resource-not-found"


class InvalidType(Refused):
    """Neither a lock nor a presence."""

    text = "invalid-type"


class InvalidTtl(Refused):
    """A time to live must be positive."""

    text = "invalid-ttl"


class InvalidOwner(Refused):
    """Nobody cannot hold a lock."""

    text = "invalid-owner"


class InvalidResource(Refused):
    """The request names no resource. The original has no answer to this: it crashes."""

    text = "invalid-resource"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table `locks`. `type` is its text, `ttl` in seconds."""

    path: str
    owner: str
    value: str
    type: str
    modified_index: int
    modified_id: str
    ttl: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """A lock request that passed the checks."""

    key: str
    owner: str
    value: str
    kind: Kind
    ttl: int


def kind_of(type_code: int) -> Kind:
    """The type of a request. The text form is never looked at.

    Raises:
        InvalidType: 0, or a number without a meaning.

    """
    try:
        return Kind(type_code)
    except ValueError:
        raise InvalidType from None


def wanted(*, key: str, owner: str, value: str, type_code: int, ttl: int) -> Wanted:
    """Check a lock request, in the original's order: type, time to live, owner. The key is free.

    Raises:
        InvalidType, InvalidTtl, InvalidOwner

    """
    kind = kind_of(type_code)
    if ttl <= 0:
        raise InvalidTtl
    if not owner:
        raise InvalidOwner
    return Wanted(key, owner, value, kind, ttl)


def lock(found: Row | None, asked: Wanted, *, new_id: Callable[[], str]) -> Row:
    """The row after `asked` was granted: a new one, or the owner's own with everything overwritten.

    A row without an owner counts as none, but keeps its identity.

    Raises:
        Collision: another owner has it.

    """
    if found is None:
        return Row(asked.key, asked.owner, asked.value, asked.kind.text, 1, new_id(), asked.ttl)
    if found.owner and found.owner != asked.owner:
        raise Collision
    index = found.modified_index + 1 if found.modified_index < MAX_INDEX else 1
    return replace(
        found,
        owner=asked.owner,
        value=asked.value,
        type=asked.kind.text,
        modified_index=index,
        modified_id=found.modified_id or new_id(),
        ttl=asked.ttl,
    )


def release(found: Row | None, owner: str) -> bool:
    """Whether there is a row to delete. Releasing what nobody holds is fine.

    Raises:
        Collision: another owner has it.

    """
    if found is None:
        return False
    if found.owner != owner:
        raise Collision
    return True


def fetch(found: Row | None) -> Row:
    """The row, if somebody holds it.

    Raises:
        NotFound: no row, or one without an owner.

    """
    if found is None or not found.owner:
        raise NotFound
    return found
