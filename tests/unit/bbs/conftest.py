"""What tests of the API ask for: a BBS for all tests of a file, each with records of its own."""

from collections.abc import Iterator

import pytest

from diego.bbs.views import bbs_api
from diego.runtime.api import Api
from support.active_bbs import ActiveBbs, active_bbs


@pytest.fixture(scope="module")
def bbs() -> Iterator[ActiveBbs]:
    with active_bbs() as bbs:
        yield bbs


@pytest.fixture(scope="module")
def api(bbs: ActiveBbs) -> Api:
    return bbs_api(bbs.service, bbs.service.context.announcer, lambda: True)
