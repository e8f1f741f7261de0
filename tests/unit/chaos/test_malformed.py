"""What is said of the answers to bad requests."""

from collections import Counter

import pytest

from chaos.malformed import EACH, judged

GOOD = {"bbs 200": EACH - 5, "bbs 404": 5, "auctioneer 400": EACH, "locket INTERNAL": EACH}


def test_answers_to_all_of_them_are_good() -> None:
    found = judged(Counter({**GOOD, "no TLS, closed": 600}))

    assert found.wrong == []
    assert found.counts["bbs 404"] == 5


def test_the_contracts_own_5xx_is_good() -> None:
    assert judged(Counter({**GOOD, "bbs 501": 1})).wrong == []


def test_another_5xx_is_wrong() -> None:
    assert judged(Counter({**GOOD, "bbs 500": 2})).wrong == ["bbs answered 500 to 2 bad requests"]


@pytest.mark.parametrize("silence", ["bbs 0", "locket UNAVAILABLE", "locket DEADLINE_EXCEEDED"])
def test_a_closed_connection_is_no_answer(silence: str) -> None:
    name = silence.split()[0]
    answered = next(key for key in GOOD if key.startswith(name))

    found = judged(Counter({**GOOD, answered: GOOD[answered] - 1, silence: 1}))

    assert found.wrong == [f"only {EACH - 1} of {EACH} bad requests to {name} were answered"]
