"""contract/lifecycle.md section 13: numbers and texts."""

import pytest

from diego.models import BbsError, ErrorType
from diego.wire import error_pb2


def test_the_numbers_are_those_of_the_wire() -> None:
    ours = {error.name.replace("_", "").lower(): int(error) for error in ErrorType}
    wire = {name.lower(): number for name, number in error_pb2.Error.Type.items()}

    assert ours == wire


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (BbsError.not_found(), "the requested resource could not be found"),
        (BbsError.exists(), "the requested resource already exists"),
        (BbsError.invalid_request(), "the request received is invalid"),
        (BbsError.invalid_request("Invalid field: x"), "Invalid field: x"),
        (BbsError.invalid_transition("Running", "Running"), "Cannot transition from Running to Running"),
        (BbsError.different_cell("a", "b"), "Running on cell a not b"),
        (BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED), "cannot claim actual LRP"),
        (BbsError(ErrorType.DEADLOCK), "the request failed due to deadlock"),
    ],
)
def test_each_error_has_the_originals_text(error: BbsError, text: str) -> None:
    assert (error.message, str(error)) == (text, text)
