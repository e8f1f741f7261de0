"""contract/lifecycle.md section 13: numbers and texts."""

import pytest

from diego.models import BbsError, ErrorType
from diego.wire import error_pb2


def test_the_numbers_are_those_of_the_wire() -> None:
    ours = {error.name.replace("_", "").lower(): int(error) for error in ErrorType}
    wire = {name.lower(): number for name, number in error_pb2.Error.Type.items()}

    assert ours == wire


def test_the_numbers_are_the_contracts() -> None:
    assert {error.value for error in ErrorType} == {0, *range(3, 10), *range(11, 20), 21, 24, *range(26, 32)}


@pytest.mark.parametrize(
    ("error", "number", "text"),
    [
        (BbsError(ErrorType.UNKNOWN_ERROR), 0, "the request failed for an unknown reason"),
        (BbsError.invalid_request(), 4, "the request received is invalid"),
        (BbsError.invalid_request("Invalid field: x"), 4, "Invalid field: x"),
        (BbsError.invalid_transition("Running", "Running"), 9, "Cannot transition from Running to Running"),
        (BbsError(ErrorType.RESOURCE_CONFLICT), 11, "the requested resource is in a conflicting state"),
        (BbsError.exists(), 12, "the requested resource already exists"),
        (BbsError.not_found(), 13, "the requested resource could not be found"),
        (BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED), 15, "cannot claim actual LRP"),
        (BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED), 16, "cannot start actual LRP"),
        (BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_CRASHED), 17, "cannot crash actual LRP"),
        (BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_FAILED), 18, "cannot fail actual LRP"),
        (BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_REMOVED), 19, "cannot remove actual LRP"),
        (BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_UNCLAIMED), 21, "cannot unclaim actual LRP"),
        (BbsError.different_cell("a", "b"), 24, "Running on cell a not b"),
        (BbsError(ErrorType.GUID_GENERATION), 26, "cannot generate random guid"),
        (BbsError(ErrorType.DESERIALIZE), 27, "could not deserialize record"),
        (BbsError(ErrorType.DEADLOCK), 28, "the request failed due to deadlock"),
    ],
)
def test_each_error_has_the_originals_number_and_text(error: BbsError, number: int, text: str) -> None:
    assert (error.type, error.message, str(error)) == (number, text, text)
