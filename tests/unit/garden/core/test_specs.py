"""What a client may ask for, and how it is read (contract/garden.md sections 1, 4, 5)."""

from typing import Any

import pytest

from diego.garden.core import specs
from diego.garden.core.specs import (
    BindMount,
    ContainerSpec,
    DiskScope,
    Image,
    Limits,
    NetOutRule,
    PortMapping,
    ProcessSpec,
    Protocol,
)
from diego.garden.errors import GardenError


def test_everything_in_a_container_is_optional() -> None:
    assert specs.container_spec({}) == ContainerSpec()
    assert specs.container_spec(None) == ContainerSpec()


def test_a_whole_container_is_read() -> None:
    spec = specs.container_spec(
        {
            "handle": "h",
            "grace_time": 5,
            "image": {"uri": "/a.tar", "username": "u", "password": "p"},
            "bind_mounts": [{"src_path": "/a", "dst_path": "/b", "mode": 1, "origin": 1}],
            "properties": {"a": "b"},
            "env": ["A=1", "B="],
            "limits": {
                "memory_limits": {"limit_in_bytes": 1},
                "disk_limits": {"byte_hard": 2, "inode_hard": 3, "scope": 1, "byte_soft": 9},
                "cpu_limits": {"limit_in_shares": 4},
                "pid_limits": {"max": 5},
                "bandwidth_limits": {"rate": 1, "burst": 2},
            },
            "netin": [{"host_port": 1, "container_port": 2}, {}],
            "netout_rules": [{}],
        }
    )

    assert spec == ContainerSpec(
        handle="h",
        grace_time=5,
        image=Image("/a.tar", "u", "p"),
        bind_mounts=(BindMount("/a", "/b", writable=True),),
        properties={"a": "b"},
        env=("A=1", "B="),
        limits=Limits(1, 2, 3, DiskScope.EXCLUSIVE, 4, 5),
        net_in=(PortMapping(1, 2), PortMapping(0, 0)),
        net_out=(NetOutRule(),),
    )


def test_names_match_in_any_case_and_null_is_absent() -> None:
    spec = specs.container_spec({"Handle": "h", "IMAGE": None, "Limits": {"Pid_Limits": {"MAX": 3}}, "x": 1})

    assert spec == ContainerSpec(handle="h", limits=Limits(pids=3))


def test_weight_stands_before_the_older_shares() -> None:
    limits = {"cpu_limits": {"weight": 7, "limit_in_shares": 9}}

    assert specs.container_spec({"limits": limits}).limits.cpu_shares == 7


def test_rootfs_is_the_older_name_of_the_image() -> None:
    assert specs.container_spec({"rootfs": "/a.tar"}).image == Image("/a.tar")

    with pytest.raises(GardenError, match=r"Cannot provide both Image\.URI and RootFSPath"):
        specs.container_spec({"rootfs": "/a.tar", "image": {"uri": "/b.tar"}})


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ([], "container"),
        ({"handle": 1}, "container.handle"),
        ({"handle": "../x"}, "invalid handle"),
        ({"handle": "a/b"}, "invalid handle"),
        ({"handle": "x" * 201}, "invalid handle"),
        ({"grace_time": "5s"}, "container.grace_time"),
        ({"grace_time": True}, "container.grace_time"),
        ({"privileged": "yes"}, "container.privileged"),
        ({"env": ["A=1", 2]}, "container.env"),
        ({"env": ["A"]}, "container.env"),
        ({"env": ["=1"]}, "container.env"),
        ({"env": ["A=\0"]}, "container.env"),
        ({"properties": {"a": 1}}, "container.properties"),
        ({"bind_mounts": {}}, "container.bind_mounts"),
        ({"bind_mounts": [{"src_path": "a", "dst_path": "/b"}]}, "container.bind_mounts[0]"),
        ({"limits": []}, "container.limits"),
        (
            {"limits": {"memory_limits": {"limit_in_bytes": -1}}},
            "container.limits.memory_limits.limit_in_bytes",
        ),
        ({"limits": {"disk_limits": {"scope": 2}}}, "container.limits.disk_limits.scope"),
        ({"limits": {"pid_limits": {"max": 2**63}}}, "container.limits.pid_limits.max"),
        ({"netin": [{"host_port": 65536}]}, "container.netin[0].host_port"),
        ({"network": "10.0.0.0/30"}, "container.network"),
    ],
)
def test_a_wrong_value_is_told_with_its_field(wrong: Any, named: str) -> None:
    with pytest.raises(GardenError) as raised:
        specs.container_spec(wrong)

    assert str(raised.value).startswith(named)


def test_a_whole_process_is_read() -> None:
    spec = specs.process_spec(
        {
            "id": "p",
            "path": "sh",
            "args": ["-c", "true"],
            "env": ["A=1"],
            "dir": "/d",
            "user": "vcap:web",
            "rlimits": {"nofile": 1024, "core": 0},
            "limits": {},
            "image": {},
        }
    )

    assert spec == ProcessSpec(
        path="sh",
        id="p",
        args=("-c", "true"),
        env=("A=1",),
        directory="/d",
        user="vcap:web",
        rlimits={"nofile": 1024, "core": 0},
        limits=Limits(),
    )
    assert not spec.is_pea


def test_a_process_with_an_image_is_a_pea_with_mounts_and_perhaps_limits_of_its_own() -> None:
    mounts = [{"src_path": "/a", "dst_path": "/b"}]

    within = specs.process_spec({"path": "sh", "image": {"uri": "/a.tar"}, "bind_mounts": mounts})
    beside = specs.process_spec(
        {
            "path": "sh",
            "image": {"uri": "/a.tar"},
            "limits": {"memory_limits": {"limit_in_bytes": 7}, "cpu_limits": {"limit_in_shares": 8}},
        }
    )

    assert within.is_pea
    assert within.image == Image("/a.tar")
    assert within.bind_mounts == (BindMount("/a", "/b"),)
    assert within.limits is None
    assert beside.limits == Limits(memory=7, cpu_shares=8)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({}, "process.path: missing"),
        ({"path": "a", "args": ["\0"]}, "process.args: a NUL character"),
        ({"path": "a", "id": "x" * 201}, "process.id: longer than 200 characters, or holds a NUL"),
        ({"path": "a", "rlimits": {"nofile": -1}}, "process.rlimits.nofile: -1 is out of range"),
        ({"path": "a", "tty": {}}, "process.tty: terminals are not offered by this engine"),
        (
            {"path": "a", "bind_mounts": [{"src_path": "/a", "dst_path": "/b"}]},
            "Running a process with bind mounts and no image provided is not allowed",
        ),
    ],
)
def test_a_wrong_process_is_told_why(wrong: Any, message: str) -> None:
    with pytest.raises(GardenError) as raised:
        specs.process_spec(wrong)

    assert str(raised.value) == message


def test_net_out_rules_are_read_one_or_many() -> None:
    rule = {
        "protocol": 1,
        "networks": [{"start": "10.0.0.1", "end": "10.0.0.9"}, {"start": "1.2.3.4"}],
        "ports": [{"start": 80, "end": 90}, {"start": 443, "end": 443}],
        "log": True,
    }
    expected = NetOutRule(
        Protocol.TCP,
        (("10.0.0.1", "10.0.0.9"), ("1.2.3.4", "1.2.3.4")),
        ((80, 90), (443, 443)),
        log=True,
    )

    assert specs.net_out_rules(rule) == (expected,)
    assert specs.net_out_rules([rule, {}]) == (expected, NetOutRule())


def test_an_absent_icmp_type_is_zero_and_an_absent_code_is_every_code() -> None:
    (rule,) = specs.net_out_rules({"protocol": 3, "icmps": {}})

    assert (rule.icmp_type, rule.icmp_code) == (0, None)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"protocol": 4}, "invalid protocol: 4"),
        ({"protocol": 9}, "invalid protocol: 9"),
        ({"ports": [{"start": 1, "end": 2}]}, "Ports cannot be specified for Protocol ALL"),
        ({"protocol": 3, "ports": [{"start": 1}]}, "Ports cannot be specified for Protocol ICMP"),
        (
            {"networks": [{"start": "2.0.0.0", "end": "1.0.0.0"}]},
            "rule.networks[0]: 2.0.0.0 is above 1.0.0.0",
        ),
    ],
)
def test_a_wrong_rule_is_refused(rule: Any, message: str) -> None:
    with pytest.raises(GardenError) as raised:
        specs.net_out_rules(rule)

    assert str(raised.value) == message
