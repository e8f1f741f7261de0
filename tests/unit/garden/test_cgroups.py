"""Reading counters from both kinds of cgroup trees."""

from pathlib import Path

import pytest

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
    return Cgroups("garden", tmp_path)


@pytest.fixture
def v2(tmp_path: Path) -> Cgroups:
    write(
        tmp_path,
        cgroup_dot_controllers="cpu memory pids\n",
        garden__h__cpu_dot_stat="usage_usec 3\nuser_usec 2\nsystem_usec 1\n",
        garden__h__memory_dot_stat="anon 5\nfile 6\n",
        garden__h__memory_dot_events="low 0\noom 1\noom_kill 3\n",
        garden__h__pids_dot_current="4\n",
        garden__h__cgroup_dot_procs="11\n",
    )
    return Cgroups("garden", tmp_path)


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


def test_swap_is_limited_only_where_it_is_counted(v1: Cgroups, tmp_path: Path) -> None:
    assert not v1.swap_is_counted()
    write(tmp_path, memory__memory_dot_memsw_dot_limit_in_bytes="1\n")
    assert v1.swap_is_counted()


def test_a_container_that_is_gone_counts_nothing(v1: Cgroups) -> None:
    assert v1.usage("gone").cpu == 0
    assert v1.processes("gone") == []
    v1.kill("gone")
    v1.remove("gone")
