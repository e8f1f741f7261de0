"""What the routes of a desired LRP say."""

import pytest

from diego.models.desired_lrp import hostnames


def test_hostnames_are_those_of_every_route() -> None:
    routes = {"cf-router": b'[{"hostnames": ["a", "b/v1"]}, {"hostnames": ["c"]}]', "x": b"1"}

    assert hostnames(routes) == ["a", "b/v1", "c"]


@pytest.mark.parametrize("raw", [b"", b"{", b"5", b"[5]", b'[{"hostnames": 5}]', b"[{}]"])
def test_routes_of_another_shape_have_no_hostnames(raw: bytes) -> None:
    assert hostnames({"cf-router": raw}) == []
