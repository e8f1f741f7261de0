from ipaddress import IPv4Address

import pytest
from lab.identity import Lab, LabError, mac_for


def test_the_name_decides_what_everything_is_called() -> None:
    lab = Lab("test")

    assert (lab.bridge, lab.table, lab.cgroup) == ("dlb-test", "diego_lab_test", "diego-lab-test")
    assert lab.directory.name == "test"
    assert str(lab.subnet) == "10.97.215.0/24"


def test_the_labs_of_make_up_and_of_make_test_share_nothing() -> None:
    up, test = Lab("dev"), Lab("test")

    assert not up.subnet.overlaps(test.subnet)
    assert not test.link_prefix.startswith(up.link_prefix)


def test_no_link_is_longer_than_the_kernel_allows() -> None:
    lab = Lab("a" * 8)

    assert len(lab.bridge) <= 15
    assert len(lab.host("cell-199", 199).link) <= 15


def test_hosts_are_numbered_from_the_tenth_address() -> None:
    lab = Lab("dev")

    assert lab.host("diego-0", 0).address == lab.subnet[10]
    assert lab.host("cell-1", 3).address == lab.subnet[13]


@pytest.mark.parametrize("name", ["", "Dev", "1st", "much-too", "longername", "../etc", "a b"])
def test_a_name_that_could_mean_something_else_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="a lab's name"):
        Lab(name)


@pytest.mark.parametrize(("name", "number"), [("up", 200), ("up", -1), ("../up", 0), ("", 0)])
def test_a_host_outside_the_lab_is_refused(name: str, number: int) -> None:
    with pytest.raises(LabError):
        Lab("dev").host(name, number)


def test_an_address_always_has_the_same_hardware_address() -> None:
    assert mac_for(IPv4Address("10.97.1.10")) == "02:61:0a:61:01:0a"
