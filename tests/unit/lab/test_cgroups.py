from pathlib import Path

import pytest
from lab.cgroups import Cgroups, Hierarchy
from lab.identity import Lab, LabError

ONE_BY_ONE = "\n".join(
    f"30 29 0:27 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"
    for name in ("cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd")
)
JOINED = "\n".join(
    f"30 29 0:27 / /sys/fs/cgroup/{name} rw - cgroup cgroup rw,{name}"
    for name in ("cpu,cpuacct", "cpuset", "memory", "devices", "freezer", "pids")
)
UNIFIED = "30 29 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate"
HOST = Lab("dev").host("diego-0", 0)


def test_controllers_mounted_one_by_one_are_mounted_so_in_the_host() -> None:
    cgroups = Cgroups.of_machine(ONE_BY_ONE)

    assert cgroups.version == 1
    assert str(cgroups.of_host(HOST)[0]) == "/sys/fs/cgroup/cpu/diego-lab-dev/diego-0"
    assert 'mount -t cgroup -o cpuacct cgroup "$R/sys/fs/cgroup/cpuacct"' in cgroups.inside()
    assert "-o none,name=systemd" in cgroups.inside()


def test_joined_controllers_are_found_under_each_of_their_names() -> None:
    inside = Cgroups.of_machine(JOINED).inside()

    assert 'mount -t cgroup -o cpu,cpuacct cgroup "$R/sys/fs/cgroup/cpu,cpuacct"' in inside
    assert 'ln -s cpu,cpuacct "$R/sys/fs/cgroup/cpuacct"' in inside


def test_a_machine_with_both_versions_counts_as_version_1() -> None:
    assert Cgroups.of_machine(f"{ONE_BY_ONE}\n{UNIFIED}").version == 1


def test_version_2_alone_gives_the_host_a_group_of_its_own() -> None:
    cgroups = Cgroups.of_machine(UNIFIED)

    assert cgroups.version == 2
    assert [str(group) for group in cgroups.of_host(HOST)] == ["/sys/fs/cgroup/diego-lab-dev/diego-0"]
    assert "cgroup.subtree_control" in cgroups.inside()


def test_a_machine_without_cgroups_is_told_what_is_missing() -> None:
    with pytest.raises(LabError, match=r"memory.*Vagrantfile"):
        Cgroups.of_machine("30 29 0:27 / / rw - ext4 /dev/vda rw")


def test_a_host_is_joined_before_anything_else_runs() -> None:
    assert Cgroups.of_machine(UNIFIED).joining(HOST).endswith("diego-0/cgroup.procs &&")


def test_a_paused_host_is_frozen_by_the_one_tree_that_can(tmp_path: Path) -> None:
    cgroups = Cgroups([Hierarchy(tmp_path / "cpu", ("cpu",)), Hierarchy(tmp_path / "freezer", ("freezer",))])
    groups = [tmp_path / "cpu/host", tmp_path / "freezer/host"]
    for group in groups:
        group.mkdir(parents=True)
    (groups[1] / "freezer.state").write_text("THAWED\n")

    cgroups.freeze(groups, frozen=True)
    assert (groups[1] / "freezer.state").read_text() == "FROZEN"
    cgroups.wake(groups)

    assert (groups[1] / "freezer.state").read_text() == "THAWED"


def test_a_host_without_power_cannot_be_paused(tmp_path: Path) -> None:
    cgroups = Cgroups([Hierarchy(tmp_path, ("freezer",))])

    with pytest.raises(LabError, match=r"freezer\.state"):
        cgroups.freeze([tmp_path / "gone"], frozen=True)
