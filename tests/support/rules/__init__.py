"""The rules of contract/lifecycle.md, each as the way in which it is broken on purpose."""

from support.rules import at_rest, errors, events, lives, validation, wanted
from support.rules.one import Break

__all__ = ["BREAKS", "Break"]

BREAKS: tuple[Break, ...] = tuple(
    sorted(
        wanted.BREAKS + lives.BREAKS + events.BREAKS + at_rest.BREAKS + validation.BREAKS + errors.BREAKS,
        key=lambda each: int(each.section),
    )
)
