"""What a round takes up, and in which order: contract/auction.md sections 3 and 5.1."""

from diego.auctioneer.core.batch import Batch, in_order
from support.auctions import a_task, an_lrp


def test_of_two_starts_of_the_same_instance_the_first_stays() -> None:
    batch = Batch()
    batch.add([an_lrp(memory_mb=1)], "first")
    batch.add([an_lrp(memory_mb=2), an_lrp(index=1)], "second")

    assert [start.demand.memory_mb for start in batch.starts.values()] == [1, 128]


def test_a_task_and_an_instance_of_the_same_guid_are_two() -> None:
    batch = Batch()
    batch.add([an_lrp("same"), a_task("same")], "")

    assert len(batch.starts) == 2


def test_the_id_of_the_first_request_is_the_rounds_even_when_it_had_none() -> None:
    batch = Batch()
    batch.add([], "")
    batch.add([an_lrp()], "second")

    assert batch.request_id == ""


def test_first_instances_come_before_tasks_and_tasks_before_further_instances() -> None:
    first, second, task = an_lrp(), an_lrp(index=1), a_task()

    assert in_order([second, task, first]) == [first, task, second]


def test_large_comes_before_small_at_the_same_index() -> None:
    small, large = an_lrp("small", memory_mb=1), an_lrp("large", memory_mb=2, index=0)

    assert in_order([small, large, an_lrp(index=1)])[:2] == [large, small]


def test_without_further_instances_tasks_come_first() -> None:
    task = a_task()

    assert in_order([an_lrp(), task])[0] is task
