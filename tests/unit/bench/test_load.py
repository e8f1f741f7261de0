"""The load's reading of answers."""

import pytest

from bench.auctions import Balance
from bench.load import Broken, body_length, encoded, percentile
from diego.auctioneer.core.placement import Outcome
from support.auction_scenarios import Result


def test_a_request_is_whole() -> None:
    assert encoded(("/v1/ping", b"body")).startswith(b"POST /v1/ping HTTP/1.1\r\n")
    assert encoded(("/v1/ping", b"body")).endswith(b"Content-Length: 4\r\n\r\nbody")


def test_the_length_of_an_answer_is_in_its_head() -> None:
    assert body_length(b"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: 17") == 17


@pytest.mark.parametrize("head", [b"HTTP/1.1 503 Busy\r\nContent-Length: 0", b"HTTP/1.1 200 OK\r\nX: y"])
def test_an_answer_that_cannot_be_followed_breaks_the_load(head: bytes) -> None:
    with pytest.raises(Broken):
        body_length(head)


def test_percentiles_are_values_that_were_seen() -> None:
    values = [float(number) for number in range(100)]

    assert percentile(values, 0.5) == 50.0
    assert percentile(values, 0.99) == 99.0
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) == 0.0


@pytest.mark.parametrize(
    ("given", "good"), [([4, 4], True), ([3, 4], False), ([5, 5], False), ([3, 3], True)]
)
def test_a_balance_is_as_good_when_it_is_no_more_uneven_and_no_cell_fuller(
    given: list[int], good: bool
) -> None:
    result = Result(0.1, Outcome(), given, [0, 0])

    assert Balance(4, 4).at_least_as_good(result) is good
