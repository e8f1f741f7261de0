"""Who gets a lock: contract/locket.md sections 2 and 3."""

import pytest

from diego.locket.core import locks
from diego.locket.core.locks import Kind, Row, Wanted


def a_row(owner: str = "anna", **changes: object) -> Row:
    values: dict[str, object] = {
        "path": "bbs", "owner": owner, "value": "v", "type": "lock", "modified_index": 3, "modified_id": "id-1",
        "ttl": 15,
    }  # fmt: skip
    return Row(**{**values, **changes})  # type: ignore[arg-type]  # the values are of the fields' types


def asking(owner: str = "anna", **changes: object) -> Wanted:
    values: dict[str, object] = {"key": "bbs", "owner": owner, "value": "w", "kind": Kind.LOCK, "ttl": 5}
    return Wanted(**{**values, **changes})  # type: ignore[arg-type]  # the values are of the fields' types


def test_a_free_key_is_acquired_with_index_one_and_a_new_id() -> None:
    row = locks.lock(None, asking(), new_id=lambda: "id-9")

    assert row == Row("bbs", "anna", "w", "lock", 1, "id-9", 5)


def test_its_owner_refreshes_a_lock_and_overwrites_everything_but_the_id() -> None:
    row = locks.lock(a_row(), asking(kind=Kind.PRESENCE), new_id=lambda: "id-9")

    assert row == Row("bbs", "anna", "w", "presence", 4, "id-1", 5)


def test_another_owner_collides_whatever_the_type() -> None:
    with pytest.raises(locks.Collision, match="lock-collision"):
        locks.lock(a_row(type="presence"), asking("bert"), new_id=lambda: "id-9")


def test_a_row_without_an_owner_is_free() -> None:
    row = locks.lock(a_row(owner=""), asking("bert"), new_id=lambda: "id-9")

    assert (row.owner, row.modified_index) == ("bert", 4)


def test_only_the_owner_releases() -> None:
    with pytest.raises(locks.Collision):
        locks.release(a_row(), "bert")

    assert locks.release(a_row(), "anna")


def test_releasing_a_free_key_is_fine() -> None:
    assert not locks.release(None, "anna")


@pytest.mark.parametrize("found", [None, a_row(owner="")])
def test_a_key_without_an_owner_is_not_found(found: Row | None) -> None:
    with pytest.raises(locks.NotFound, match="resource-not-found"):
        locks.fetch(found)


@pytest.mark.parametrize(
    ("type_code", "ttl", "owner", "refusal"),
    [
        (0, 0, "", locks.InvalidType),
        (7, 5, "anna", locks.InvalidType),
        (1, 0, "", locks.InvalidTtl),
        (2, -1, "anna", locks.InvalidTtl),
        (1, 5, "", locks.InvalidOwner),
    ],
)
def test_a_request_is_checked_for_type_then_ttl_then_owner(
    type_code: int, ttl: int, owner: str, refusal: type[locks.Refused]
) -> None:
    with pytest.raises(refusal):
        locks.wanted(key="k", owner=owner, value="", type_code=type_code, ttl=ttl)


def test_an_empty_key_is_a_key() -> None:
    assert locks.wanted(key="", owner="anna", value="", type_code=1, ttl=5).key == ""
