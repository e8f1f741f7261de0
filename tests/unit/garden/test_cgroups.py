"""Reading counters from both kinds of cgroup trees."""

from pathlib import Path

import pytest

from diego.garden import cgroups
from diego.garden.cgroups import Cgroups


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def v1(tmp_path: Path) -> Cgroups:
    write(
        tmp_path,
        cpuacct__garden__h__cpuacct_dot_usage="300\n",
        cpuacct__garden__h__cpuacct_dot_usage_user="200\n",
        cpuacct__garden__h__cpuacct_dot_usage_sys="100\n",
        memory__garden__h__memory_dot_stat="cache 1\ntotal_rss 5\n",
        memory__garden__h__memory_dot_oom_control="oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        pids__garden__h__pids_dot_current="4\n",
        pids__garden__h__cgroup_dot_procs="12\n11\n",
        pids__garden__h__inner__cgroup_dot_procs="13\n",
    )
    return Cgroups("garden", {name: tmp_path / name for name in ("cpuacct", "memory", "pids")})


@pytest.fixture
def v2(tmp_path: Path) -> Cgroups:
    write(
        tmp_path,
        garden__h__cpu_dot_stat="usage_usec 3\nuser_usec 2\nsystem_usec 1\n",
        garden__h__memory_dot_stat="anon 5\nfile 6\n",
        garden__h__memory_dot_events="low 0\noom 1\noom_kill 3\n",
        garden__h__pids_dot_current="4\n",
        garden__h__cgroup_dot_procs="11\n",
    )
    return Cgroups("garden", {"": tmp_path})


def test_version_1_and_hybrid_count_per_controller(v1: Cgroups) -> None:
    usage = v1.usage("h")

    assert not v1.unified
    assert (usage.cpu, usage.cpu_user, usage.cpu_system) == (300, 200, 100)
    assert usage.memory == {"cache": 1, "total_rss": 5}
    assert (usage.pids, usage.oom_kills) == (4, 2)
    assert v1.processes("h") == [11, 12, 13]


def test_version_2_counts_in_one_place_and_in_microseconds(v2: Cgroups) -> None:
    usage = v2.usage("h")

    assert v2.unified
    assert (usage.cpu, usage.cpu_user, usage.cpu_system) == (3000, 2000, 1000)
    assert usage.memory == {"anon": 5, "file": 6}
    assert (usage.pids, usage.oom_kills) == (4, 3)
    assert v2.processes("h") == [11]


def test_version_1_leaves_the_making_of_groups_to_the_runtime(v1: Cgroups, tmp_path: Path) -> None:
    v1.make("new", {"memory.max": "1"})

    assert v1.path("new") == "/garden/new"
    assert not list(tmp_path.rglob("new"))


def test_version_2_has_the_limits_above_the_processes(tmp_path: Path) -> None:
    for name in ("", "a", "a/garden", "a/garden/h"):
        (tmp_path / name).mkdir(exist_ok=True)
        write(tmp_path / name, cgroup_dot_controllers="cpu io memory pids\n", cgroup_dot_subtree_control="")
    write(tmp_path, cgroup_dot_subtree_control="cpu memory pids\n")
    groups = Cgroups("a/garden", {"": tmp_path})

    groups.make("h", {"memory.max": "1"})

    assert groups.path("h") == "/a/garden/h/init"
    assert (tmp_path / "a/garden/h/memory.max").read_text() == "1"
    # the last one written here; the kernel's file keeps them all
    assert (tmp_path / "a/cgroup.subtree_control").read_text() == "+pids"
    assert (tmp_path / "a/garden/cgroup.subtree_control").read_text() == "+pids"
    assert (tmp_path / "cgroup.subtree_control").read_text() == "cpu memory pids\n"
    assert (tmp_path / "a/garden/h/cgroup.subtree_control").read_text() == ""


def test_peas_with_limits_of_their_own_belong_to_their_container(v1: Cgroups, tmp_path: Path) -> None:
    write(
        tmp_path,
        pids__garden__h_colon_pea__cgroup_dot_procs="14\n",
        pids__garden__hh_colon_pea__cgroup_dot_procs="15\n",
    )
    for name in ("h", "hh"):
        (tmp_path / f"pids/garden/{name}_colon_pea").rename(tmp_path / f"pids/garden/{name}:pea")

    assert v1.processes("h") == [11, 12, 13, 14]
    assert v1.processes("hh") == [15]
    assert v1.usage("h/inner").cpu == 0


@pytest.mark.parametrize(
    ("groups", "belongs"),
    [
        ("8:pids:/garden/h\n7:memory:/\n", True),
        ("8:pids:/garden/h/pea\n", True),
        ("8:pids:/garden/h:pea\n", True),
        ("0::/garden/h/init\n", True),
        ("8:pids:/garden/hh\n", False),
        ("8:pids:/garden/hh:pea\n8:h:/\n", False),
    ],
)
def test_a_process_is_known_by_its_groups(groups: str, belongs: bool) -> None:
    assert cgroups.belongs(groups, "h") is belongs


def test_swap_is_limited_only_where_it_is_counted(v1: Cgroups, tmp_path: Path) -> None:
    assert not v1.swap_is_counted()
    write(tmp_path, memory__memory_dot_memsw_dot_limit_in_bytes="1\n")
    assert v1.swap_is_counted()


def test_a_container_that_is_gone_counts_nothing(v1: Cgroups) -> None:
    assert v1.usage("gone").cpu == 0
    assert v1.processes("gone") == []
    v1.kill("gone")
    v1.remove("gone")


V1 = """\
25 20 0:22 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
26 20 0:23 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
27 20 0:24 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
28 20 0:25 / /proc rw - proc proc rw
"""
HYBRID = "29 20 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
V2 = "30 20 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_joined_controllers_are_found_where_they_are_mounted() -> None:
    found = cgroups.hierarchies(V1)

    assert found["cpuacct"] == found["cpu"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert found["memory"] == Path("/sys/fs/cgroup/memory")
    assert not Cgroups("garden", found).unified


def test_a_version_2_tree_beside_version_1_is_not_the_one_that_limits() -> None:
    assert not Cgroups("garden", cgroups.hierarchies(V1 + HYBRID)).unified
    assert Cgroups("garden", cgroups.hierarchies(V2)).unified
    assert Cgroups("garden", cgroups.hierarchies(V2)).of("memory", "h") == Path("/sys/fs/cgroup/garden/h")
