from pathlib import Path

import pytest
from lab.identity import LabError
from lab.topology import groups_of, hosts_of

CHECKOUT = Path(__file__).resolve().parents[3]


def written(directory: Path, text: str) -> Path:
    path = directory / "topology.ini"
    path.write_text(text)
    return path


def test_a_host_in_several_groups_is_one_host(tmp_path: Path) -> None:
    topology = written(tmp_path, "[nats]\none\n[router]\ntwo zone=z2\none\n")

    assert hosts_of(topology) == ["one", "two"]


def test_a_range_stands_for_its_hosts(tmp_path: Path) -> None:
    assert hosts_of(written(tmp_path, "[diego-cell]\ncell-[00:02]\n")) == ["cell-00", "cell-01", "cell-02"]


def test_variables_and_groups_of_groups_name_no_host(tmp_path: Path) -> None:
    text = "[nats]\none  # a host\n\n[all:vars]\nzone=z1\n[everything:children]\nnats\n"

    assert hosts_of(written(tmp_path, text)) == ["one"]


def test_a_topology_without_hosts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no hosts"):
        hosts_of(written(tmp_path, "[nats]\n"))


def test_a_topology_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="absent"):
        hosts_of(tmp_path / "absent.ini")


def test_the_default_lab_is_one_host() -> None:
    assert hosts_of(CHECKOUT / "inventory/lab/single.ini") == ["diego-0"]


def test_a_groups_hosts_keep_their_order_since_it_numbers_the_instances(tmp_path: Path) -> None:
    topology = written(tmp_path, "[nats]\ntwo\none zone=z1\n[diego-cell]\ncell-[0:1]\n[all:vars]\nzone=z1\n")

    assert groups_of(topology) == {"nats": ["two", "one"], "diego-cell": ["cell-0", "cell-1"]}


def test_the_small_lab_has_two_of_all_but_the_database_and_no_group_on_one_host_alone() -> None:
    groups = groups_of(CHECKOUT / "inventory/lab/small.ini")

    assert len(hosts_of(CHECKOUT / "inventory/lab/small.ini")) == 5
    assert {group for group, hosts in groups.items() if len(hosts) != 2} == {"pxc-mysql"}
    assert groups.keys() == groups_of(CHECKOUT / "inventory/lab/single.ini").keys()
