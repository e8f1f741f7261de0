"""Messages read one level deep: nothing of them is lost, and nothing inside is looked at."""

from diego.wire.desired_lrp_pb2 import DesiredLRP, DesiredLRPRunInfo
from diego.wire.shallow import shallow
from support.records import a_desired_message

SHALLOW = shallow(DesiredLRP)


def test_a_message_comes_back_as_it_was() -> None:
    encoded = a_desired_message().SerializeToString(deterministic=True)

    assert SHALLOW.FromString(encoded).SerializeToString() == encoded


def test_a_part_is_its_bytes() -> None:
    message = a_desired_message()

    parts = SHALLOW.FromString(message.SerializeToString())

    assert parts.action == message.action.SerializeToString()
    assert parts.process_guid == message.process_guid


def test_a_part_that_is_not_there_differs_from_an_empty_one() -> None:
    empty = DesiredLRP()
    empty.network.SetInParent()

    there = SHALLOW.FromString(empty.SerializeToString())
    absent = SHALLOW.FromString(DesiredLRP().SerializeToString())

    assert (there.HasField("network"), absent.HasField("network")) == (True, False)


def test_numbers_are_packed_as_in_the_message() -> None:
    for deep in (DesiredLRP, DesiredLRPRunInfo):
        encoded = deep(ports=[8080, 2222]).SerializeToString()

        assert shallow(deep)(ports=[8080, 2222]).SerializeToString() == encoded
