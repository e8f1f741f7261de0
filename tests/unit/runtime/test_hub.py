"""How a hub hands events out: together, in turns with others, and to those who were there when they were published."""

import asyncio
import time
from collections.abc import Callable

from diego.runtime import hub as hubs
from diego.runtime.hub import Hub, Run


class Listener:
    """Remembers what it is sent, and in which pieces."""

    def __init__(self, seconds: float = 0.0, patience: int = 10**9) -> None:
        self.runs: list[list[bytes]] = []
        self.numbers: list[int] = []
        self.ended = False
        self._seconds = seconds
        self._patience = patience

    def send_events(self, run: Run) -> bool:
        time.sleep(self._seconds)
        self.runs.append([text.split(b"\n")[0].removeprefix(b"event: ") for text in run.texts])
        self.numbers += range(run.number, run.number + len(run))
        return len(self.numbers) <= self._patience

    def end_stream(self) -> None:
        self.ended = True

    @property
    def heard(self) -> list[bytes]:
        return [name for run in self.runs for name in run]


def in_loop(scenario: Callable[[Hub, asyncio.AbstractEventLoop], None]) -> None:
    """Play it, and wait until everything is handed out."""
    hub = Hub()

    async def play() -> None:
        loop = asyncio.get_running_loop()
        scenario(hub, loop)
        end = loop.time() + 30
        while hub.has_news and loop.time() < end:
            await asyncio.sleep(0.001)

    asyncio.run(play())


def test_what_is_published_in_one_turn_is_sent_together() -> None:
    listener = Listener()

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        hub.join(listener, None, loop)
        for name in ("one", "two", "three"):
            hub.publish(name, b"1")

    in_loop(scenario)

    assert listener.runs == [[b"one", b"two", b"three"]]


def test_what_is_published_while_the_last_is_handed_out_follows_in_one_piece() -> None:
    listeners = [Listener(seconds=0.0005) for _ in range(50)]

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        for listener in listeners:
            hub.join(listener, None, loop)
        hub.publish("first", b"1")
        for number in range(5):
            loop.call_later(0.002 * (number + 1), hub.publish, f"later-{number}", b"1")

    in_loop(scenario)

    for listener in listeners:
        assert listener.heard == [b"first", *(b"later-%d" % number for number in range(5))]
        assert listener.numbers == list(range(6))
    assert len(listeners[0].runs) < 6


def test_others_have_their_turn_while_events_are_handed_out() -> None:
    listeners = [Listener(seconds=0.0005) for _ in range(100)]
    reached: list[int] = []

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        def other() -> None:
            reached.append(sum(1 for listener in listeners if listener.runs))
            if reached[-1] < 100:
                loop.call_soon(other)

        for listener in listeners:
            hub.join(listener, None, loop)
        hub.publish("event", b"1")
        loop.call_soon(other)

    in_loop(scenario)

    assert len([count for count in reached if 0 < count < 100]) > 2


def test_a_listener_does_not_hear_what_was_published_before_it_came() -> None:
    early, late, choosy = Listener(), Listener(), Listener()

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        hub.join(early, None, loop)
        hub.publish("before", b"1", tag="cell")
        hub.join(late, None, loop)
        hub.join(choosy, lambda tag: tag == "cell", loop)
        hub.publish("after", b"1", tag="cell")

    in_loop(scenario)

    assert early.heard == [b"before", b"after"]
    assert late.heard == choosy.heard == [b"after"]
    assert late.numbers == choosy.numbers == [0]


def test_a_listener_that_left_hears_no_more() -> None:
    listener, other = Listener(), Listener()

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        hub.join(listener, None, loop)
        hub.join(other, None, loop)
        hub.publish("event", b"1")
        hub.leave(listener)

    in_loop(scenario)

    assert (listener.heard, other.heard) == ([], [b"event"])


def test_what_was_published_is_heard_before_the_end() -> None:
    listener = Listener()

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        hub.join(listener, None, loop)
        hub.publish("last", b"1")
        hub.close()
        assert listener.heard == [b"last"]

    in_loop(scenario)

    assert listener.ended


def test_a_listener_that_is_too_slow_is_counted_and_hears_no_more() -> None:
    slow, other = Listener(patience=1), Listener()

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        hub.join(slow, None, loop)
        hub.join(other, None, loop)
        for _ in range(2):
            hub.publish("event", b"1")
            hub.flush()
        hub.publish("event", b"1")
        hub.flush()
        assert (hub.subscribers, hub.dropped) == (1, 1)

    in_loop(scenario)

    assert (len(slow.heard), len(other.heard)) == (2, 3)


def test_long_events_are_sent_in_pieces_that_keep_their_order() -> None:
    listener = Listener()
    length = hubs.PIECE // 4

    def scenario(hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        hub.join(listener, None, loop)
        for number in range(10):
            hub.publish(f"{number}", bytes(length))
        hub.publish("longer than a piece", bytes(2 * hubs.PIECE))

    in_loop(scenario)

    assert listener.heard == [*(b"%d" % number for number in range(10)), b"longer than a piece"]
    assert listener.runs[-1] == [b"longer than a piece"]
    assert {len(run) for run in listener.runs[:-1]} <= {1, 2}
