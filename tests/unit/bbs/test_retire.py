"""contract/lifecycle.md section 5, retire: how one instance ends."""

import pytest

from diego.bbs.core.retire import Way, way
from diego.models import ActualLRP
from support.records import claimed, crashed, running, unclaimed


@pytest.mark.parametrize("row", [unclaimed(), crashed()])
def test_what_no_cell_holds_is_deleted_at_once(row: ActualLRP) -> None:
    assert way(row) is Way.DELETE


@pytest.mark.parametrize("row", [claimed(), running()])
def test_what_a_cell_holds_is_ended_by_the_cell(row: ActualLRP) -> None:
    assert way(row) is Way.ASK_CELL
