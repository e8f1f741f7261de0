"""contract/lifecycle.md section 2: freshness."""

from diego.models import NEVER, Domain
from support.records import NOW, SECOND


def test_a_ttl_is_in_seconds_and_zero_is_for_ever() -> None:
    assert Domain.upserted("d", 120, now=NOW) == Domain("d", NOW + 120 * SECOND)
    assert Domain.upserted("d", 0, now=NOW) == Domain("d", NEVER)


def test_a_domain_is_fresh_while_its_expiry_is_later_than_now_rounded_to_the_second() -> None:
    domain = Domain("d", NOW + SECOND)

    assert domain.fresh(now=NOW + SECOND // 2 - 1)
    assert not domain.fresh(now=NOW + SECOND // 2)


def test_a_domain_is_pruned_from_its_expiry_on() -> None:
    domain = Domain("d", NOW)

    assert not domain.expired(now=NOW - 1)
    assert domain.expired(now=NOW)
