"""Removals are said again and again for a while: a router that missed one would keep a dead route.

Each is repeated `count` times, once per interval, unless the same association is registered again
(contract/routing.md section 4).
"""

from collections.abc import Iterable

from diego.route_emitter.core.table import Association

MAX_KEPT = 50_000


class Unregistrations:
    def __init__(self, count: int) -> None:
        self._count = count
        self._left: dict[Association, tuple[bytes, int]] = {}

    def __len__(self) -> int:
        return len(self._left)

    def said(self, messages: dict[Association, bytes]) -> None:
        """These were said once; the oldest are forgotten when there are too many."""
        for association, message in messages.items():
            self._left.pop(association, None)
            self._left[association] = (message, self._count)
        for association in list(self._left)[: max(0, len(self._left) - MAX_KEPT)]:
            del self._left[association]

    def registered(self, associations: Iterable[Association]) -> None:
        """These are routes again."""
        for association in associations:
            self._left.pop(association, None)

    def due(self) -> list[bytes]:
        """What is to be said now, each for one time less."""
        messages = []
        for association, (message, left) in list(self._left.items()):
            messages.append(message)
            if left > 1:
                self._left[association] = (message, left - 1)
            else:
                del self._left[association]
        return messages
