"""What the executor decides: states, room, step trees, records, specs of the engine, the cache."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.executor.core import containers
from diego.executor.core.cache import Entry, Form, newest, stem, strangers, superseded, to_evict
from diego.executor.core.container_spec import BindMount, Limits, container_spec, network_env
from diego.executor.core.containers import Addresses, Container, Outcome, PortMapping, State
from diego.executor.core.egress import BadRule, net_out_rules
from diego.executor.core.errors import InvalidTransition
from diego.executor.core.failures import CANCELLED, emitted, timed_out, together
from diego.executor.core.journal import Failure, Journal
from diego.executor.core.records import BadRecord, Record, decode, encode
from diego.executor.core.requests import LogTarget, MetricsTarget
from diego.executor.core.resources import (
    BadCapacity,
    Demand,
    Room,
    container_capacity,
    disk_capacity,
    memory_capacity,
    remaining,
)
from diego.executor.core.steps import BadAction, Codependent, Exit, Parallel, Run, Serial, lay_out, step
from diego.executor.core.usage import Sample, usage
from diego.wire.actions_pb2 import (
    Action,
    CodependentAction,
    EmitProgressAction,
    ParallelAction,
    ResourceLimits,
    RunAction,
    SerialAction,
    TimeoutAction,
    TryAction,
)
from diego.wire.cached_dependency_pb2 import CachedDependency
from diego.wire.check_definition_pb2 import Check, CheckDefinition, TCPCheck
from diego.wire.security_group_pb2 import ICMPInfo, PortRange, SecurityGroupRule
from support.executor_bench import a_request, run_action

DEMAND = Demand(64, 128, 0, "preloaded:stack")


def a_container(state: State = State.RESERVED, **more: Any) -> Container:
    return replace(Container("guid-1", DEMAND, {"lifecycle": "lrp"}, 1000.0), state=state, **more)


# States


def test_a_container_goes_from_reserved_to_running_in_order() -> None:
    container = containers.initialize(a_container(), a_request())
    container = containers.create(container, Addresses("10.0.0.1", "10.255.0.2"))
    container = containers.run(container)

    assert container.state is State.RUNNING


@pytest.mark.parametrize("state", [state for state in State if state is not State.RESERVED])
def test_only_a_reservation_takes_a_run_request(state: State) -> None:
    with pytest.raises(InvalidTransition, match="container cannot transition to given state"):
        containers.initialize(a_container(state), a_request())


@pytest.mark.parametrize("state", [state for state in State if state is not State.INITIALIZING])
def test_only_an_initializing_container_is_created(state: State) -> None:
    with pytest.raises(InvalidTransition):
        containers.create(a_container(state), Addresses("", ""))


@pytest.mark.parametrize("state", [state for state in State if state is not State.CREATED])
def test_only_a_created_container_becomes_running(state: State) -> None:
    with pytest.raises(InvalidTransition):
        containers.run(a_container(state))


@given(st.sampled_from(State), st.lists(st.booleans(), min_size=1, max_size=5))
def test_what_has_ended_keeps_its_first_outcome(state: State, failures: list[bool]) -> None:
    container = a_container(state)
    if state is State.COMPLETED:
        container = replace(container, outcome=Outcome(failed=False))
    first = container.outcome or Outcome(failed=failures[0], reason="0")

    for number, failed in enumerate(failures):
        container = containers.complete(container, Outcome(failed=failed, reason=str(number)))

    assert container.state is State.COMPLETED
    assert container.outcome == first


def test_a_reservation_expires_after_a_minute_and_nothing_else_does() -> None:
    assert containers.has_expired(a_container(), now=1060.0, after=60.0)
    assert not containers.has_expired(a_container(), now=1059.0, after=60.0)
    assert not containers.has_expired(a_container(State.INITIALIZING), now=9999.0, after=60.0)


# Room


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=20))
def test_taking_and_giving_back_leaves_the_room_as_it_was(sizes: list[tuple[int, int]]) -> None:
    total = Room(1000, 2000, 10)
    demands = [Demand(memory, disk, 0, "") for memory, disk in sizes]

    left = remaining(total, demands)

    assert left.memory_mb == 1000 - sum(memory for memory, _ in sizes)
    assert left.disk_mb == 2000 - sum(disk for _, disk in sizes)
    assert left.containers == 10 - len(sizes)
    assert remaining(total, []) == total


def test_a_demand_fits_to_the_last_megabyte() -> None:
    assert Room(64, 128, 1).holds(DEMAND.room)
    assert not Room(63, 128, 1).holds(DEMAND.room)
    assert not Room(64, 127, 1).holds(DEMAND.room)
    assert not Room(64, 128, 0).holds(DEMAND.room)


def test_capacity_by_auto_and_by_number() -> None:
    disk = {"disk_bytes": 100 << 20, "schedulable_bytes": 0, "cache_bytes": 30 << 20, "overhead_mb": 10}

    assert memory_capacity("auto", 5 << 20) == 5
    assert memory_capacity("4096", 0) == 4096
    assert disk_capacity("auto", **disk) == 60
    assert disk_capacity("auto", **{**disk, "schedulable_bytes": 50 << 20}) == 40
    assert disk_capacity("8192", **disk) == 8192
    assert (container_capacity(250), container_capacity(0)) == (249, 0)


@pytest.mark.parametrize("setting", ["0", "-1", "many", "", "1.5"])
def test_a_capacity_must_be_positive_or_auto(setting: str) -> None:
    with pytest.raises(BadCapacity, match="memory limit must be a positive number or 'auto'"):
        memory_capacity(setting, 1)
    with pytest.raises(BadCapacity, match="disk limit must be a positive number or 'auto'"):
        disk_capacity(setting, disk_bytes=0, schedulable_bytes=0, cache_bytes=0, overhead_mb=0)


def test_an_automatic_disk_must_leave_something() -> None:
    with pytest.raises(BadCapacity, match="auto disk limit must result in a positive number"):
        disk_capacity("auto", disk_bytes=1 << 20, schedulable_bytes=0, cache_bytes=1 << 20, overhead_mb=0)


# Step trees


def test_a_run_action_is_laid_out_with_everything_it_says() -> None:
    action = Action(
        run_action=RunAction(
            path="/app",
            args=["-x"],
            dir="/home",
            user="vcap",
            resource_limits=ResourceLimits(nofile=1024),
            suppress_log_output=True,
        )
    )

    assert step(action, "APP", "action") == Run(
        id="action",
        source="APP",
        path="/app",
        args=("-x",),
        dir="/home",
        user="vcap",
        nofile=1024,
        suppressed=True,
    )


def test_steps_are_named_by_their_place_in_the_tree() -> None:
    tree = step(
        Action(
            serial_action=SerialAction(
                actions=[run_action(), Action(parallel_action=ParallelAction(actions=[run_action()]))]
            )
        ),
        "APP",
        "action",
    )

    assert isinstance(tree, Serial)
    assert [child.id for child in tree.children] == ["action.0", "action.1"]
    group = tree.children[1]
    assert isinstance(group, Parallel)
    assert group.children[0].id == "action.1.0"


@pytest.mark.parametrize(
    ("action", "source"),
    [
        (Action(timeout_action=TimeoutAction(action=run_action(), log_source="OWN")), "OWN"),
        (Action(try_action=TryAction(action=run_action(), log_source="OWN")), "OWN"),
        (Action(parallel_action=ParallelAction(actions=[run_action()], log_source="OWN")), "OWN"),
        (Action(codependent_action=CodependentAction(actions=[run_action()], log_source="OWN")), "OWN"),
        (Action(serial_action=SerialAction(actions=[run_action()], log_source="OWN")), "PARENT"),
        (Action(emit_progress_action=EmitProgressAction(action=run_action(), log_source="OWN")), "PARENT"),
    ],
)
def test_which_actions_hand_their_log_source_down(action: Action, source: str) -> None:
    tree: Any = step(action, "PARENT", "action")

    child = tree.children[0] if hasattr(tree, "children") else tree.child
    assert child.source == source


def test_the_source_of_a_definition_without_one_is_log() -> None:
    plan = lay_out(a_request(log=LogTarget("guid", 0, "")))

    assert isinstance(plan.action, Run)
    assert plan.action.source == "LOG"


def test_an_explicit_codependent_action_takes_an_exit_for_an_error() -> None:
    tree = step(Action(codependent_action=CodependentAction(actions=[run_action()])), "APP", "action")

    assert isinstance(tree, Codependent)
    assert tree.on_exit is Exit.IS_ERROR


@pytest.mark.parametrize(
    "action",
    [Action(), Action(try_action=TryAction()), Action(serial_action=SerialAction(actions=[Action()]))],
)
def test_an_empty_action_is_refused(action: Action) -> None:
    with pytest.raises(BadAction):
        step(action, "APP", "action")


# Failures


def test_what_cannot_be_displayed_is_left_out_where_failures_meet() -> None:
    assert together([CANCELLED, Failure("a"), Failure("b")]) == Failure("a; b")
    assert together([CANCELLED]) == Failure("", displayable=False)
    assert timed_out("1s", CANCELLED).message == "exceeded 1s timeout"
    assert timed_out("1s", Failure("x")).message == "exceeded 1s timeout; x"
    assert emitted("Failed", CANCELLED) == "Failed"
    assert emitted("Failed", Failure("x")) == "Failed: x"


# Records


def test_a_record_says_everything_again() -> None:
    request = a_request(
        setup=run_action("/setup"),
        monitor=run_action("/monitor"),
        check_definition=CheckDefinition(checks=[Check(tcp_check=TCPCheck(port=1))]),
        env=(("A", "1"), ("A", "2")),
        ports=(8080, 9090),
        metrics=MetricsTarget("metrics", 2),
        cached_dependencies=(CachedDependency(name="x"),),
        egress_rules=(SecurityGroupRule(protocol="all", destinations=["0.0.0.0/0"]),),
        network_properties={"k": "v"},
        internal_routes=("a.b",),
        log=LogTarget("log", 1, "APP", {"t": "v"}),
        result_file="/tmp/result",
    )
    container = a_container(
        State.COMPLETED,
        request=request,
        addresses=Addresses("1.2.3.4", "10.255.0.2", (PortMapping(8080, 61001),)),
        outcome=Outcome(failed=True, reason="x", retryable=True),
        stop_wanted=True,
        metric_tags={"t": "v"},
    )
    journal = Journal().begun("action", 5.0).started("action").done("action", Failure("f", displayable=False))
    record = Record(container, journal, ("entry.tree",))

    assert decode(encode(record)) == record


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'{"version": 99}', b'{"version": 1}', b"\xff"])
def test_a_damaged_record_is_told_apart(text: bytes) -> None:
    with pytest.raises(BadRecord):
        decode(text)


def test_every_cut_of_a_record_is_told_apart() -> None:
    whole = encode(Record(a_container()))

    for length in range(len(whole)):
        with pytest.raises(BadRecord):
            decode(whole[:length])


# Specs


def test_the_engine_is_asked_for_what_the_contract_says() -> None:
    request = a_request(
        ports=(8080, 8080, 61443),
        cpu_weight=50,
        network_properties={"app_id": "guid"},
        env=(("A", "1"),),
        log=LogTarget("log", 1, "APP", {"t": "v"}),
    )
    spec = container_spec(
        a_container(),
        request,
        Limits("executor", 1024, 200_000),
        rootfs_bytes=1000,
        mounts=[BindMount("/cache/x", "/lifecycle")],
    )

    assert spec["limits"] == {
        "memory_limits": {"limit_in_bytes": 64 << 20},
        "disk_limits": {"inode_hard": 200_000, "scope": 0, "byte_hard": (128 << 20) + 1000},
        "pid_limits": {},
        "cpu_limits": {"limit_in_shares": 512},
    }
    assert spec["netin"] == [{"host_port": 0, "container_port": 8080}]
    assert spec["bind_mounts"] == [{"src_path": "/cache/x", "dst_path": "/lifecycle", "mode": 0, "origin": 0}]
    assert spec["properties"]["executor:owner"] == "executor"
    assert spec["properties"]["network.app_id"] == "guid"
    assert json.loads(spec["properties"]["log_config"]) == {
        "guid": "log",
        "index": 1,
        "source_name": "APP",
        "tags": {"t": "v"},
    }
    assert (spec["handle"], spec["image"], spec["env"]) == ("guid-1", {"uri": "/stack.tar"}, ["A=1"])


def test_no_disk_limit_stays_none() -> None:
    container = replace(a_container(), demand=Demand(0, 0, 100, ""))

    limits = container_spec(container, a_request(), Limits("o", 1024, 5), rootfs_bytes=1000, mounts=[])[
        "limits"
    ]

    assert "byte_hard" not in limits["disk_limits"]
    assert limits["memory_limits"] == {}
    assert limits["pid_limits"] == {"max": 100}


def test_an_instance_without_ports_has_empty_addresses() -> None:
    assert dict(network_env(Addresses("1.2.3.4", "10.0.0.2"))) == {
        "CF_INSTANCE_IP": "1.2.3.4",
        "CF_INSTANCE_INTERNAL_IP": "10.0.0.2",
        "CF_INSTANCE_PORT": "",
        "CF_INSTANCE_ADDR": "",
        "CF_INSTANCE_PORTS": "[]",
    }


def test_an_unmapped_first_port_leaves_port_and_address_unset() -> None:
    env = dict(network_env(Addresses("1.2.3.4", "10.0.0.2", (PortMapping(8080, 0),), "fd00::2")))

    assert "CF_INSTANCE_PORT" not in env
    assert env["CF_INSTANCE_INTERNAL_IPV6"] == "fd00::2"
    assert env["CF_INSTANCE_PORTS"] == '[{"internal":8080}]'


# Egress rules


def test_one_engine_rule_for_each_destination() -> None:
    rule = SecurityGroupRule(
        protocol="tcp", destinations=["10.0.0.0/30,1.2.3.4", "5.0.0.1-5.0.0.9"], ports=[80, 443], log=True
    )

    rules = net_out_rules([rule])

    assert [one["networks"] for one in rules] == [
        [{"start": "10.0.0.0", "end": "10.0.0.3"}],
        [{"start": "1.2.3.4", "end": "1.2.3.4"}],
        [{"start": "5.0.0.1", "end": "5.0.0.9"}],
    ]
    assert rules[0]["ports"] == [{"start": 80, "end": 80}, {"start": 443, "end": 443}]
    assert rules[0]["protocol"] == 1
    assert rules[0]["log"] is True


def test_icmp_rules_carry_type_and_code() -> None:
    rule = SecurityGroupRule(protocol="icmp", destinations=["1.2.3.4"], icmp_info=ICMPInfo(type=8, code=-1))

    assert net_out_rules([rule])[0]["icmps"] == {"type": 8, "code": 255}


@pytest.mark.parametrize(
    "rule",
    [
        SecurityGroupRule(protocol="sctp", destinations=["1.2.3.4"]),
        SecurityGroupRule(protocol="tcp", destinations=["1.2.3.4"]),
        SecurityGroupRule(
            protocol="tcp", destinations=["1.2.3.4"], ports=[1], port_range=PortRange(start=1, end=2)
        ),
        SecurityGroupRule(protocol="all", destinations=["1.2.3.4"], ports=[1]),
        SecurityGroupRule(protocol="all", destinations=["nowhere"]),
        SecurityGroupRule(protocol="all"),
        SecurityGroupRule(protocol="icmp", destinations=["1.2.3.4"]),
        SecurityGroupRule(protocol="all", destinations=["1.2.3.4"], icmp_info=ICMPInfo()),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule: SecurityGroupRule) -> None:
    with pytest.raises(BadRule):
        net_out_rules([rule])


# Usage


def test_the_cpu_fraction_is_between_two_samples() -> None:
    metrics = {
        "CPUStat": {"Usage": 3_000},
        "Age": 10_000,
        "MemoryStat": {"TotalUsageTowardLimit": 5},
        "DiskStat": {"TotalBytesUsed": 100},
        "NetworkStat": {"RxBytes": 1, "TxBytes": 2},
    }

    first, sample = usage(metrics, None, rootfs_bytes=40)
    second, _ = usage(metrics, Sample(cpu_ns=1_000, age_ns=6_000))

    assert (first.cpu_fraction, first.disk_bytes, first.rx_bytes) == (0.0, 60, 1)
    assert sample == Sample(3_000, 10_000)
    assert second.cpu_fraction == 0.5


# The cache


def an_entry(name: str, size: int = 10, used_at: float = 0.0, key: str = "", form: Form = Form.TAR) -> Entry:
    return Entry(name, key or name, form, size, used_at, "etag")


def test_the_least_recently_used_goes_first_and_what_is_in_use_stays() -> None:
    entries = [an_entry("old", used_at=1), an_entry("used", used_at=0), an_entry("new", used_at=2)]

    assert [entry.name for entry in to_evict(entries, {"used"}, limit=20)] == ["old"]
    assert [entry.name for entry in to_evict(entries, {"used"}, limit=0)] == ["old", "new"]
    assert to_evict(entries, set(), limit=30) == []


@given(
    st.lists(st.tuples(st.integers(0, 100), st.floats(0, 100), st.booleans()), max_size=20),
    st.integers(0, 500),
)
def test_eviction_reaches_the_limit_or_leaves_only_what_is_in_use(
    shapes: list[tuple[int, float, bool]], limit: int
) -> None:
    entries = [an_entry(str(n), size, used_at) for n, (size, used_at, _) in enumerate(shapes)]
    in_use = {str(n) for n, (_, _, used) in enumerate(shapes) if used}

    gone = to_evict(entries, in_use, limit=limit)
    left = [entry for entry in entries if entry not in gone]

    assert not in_use & {entry.name for entry in gone}
    assert sum(entry.size for entry in left) <= limit or all(
        entry.name in in_use or entry.size == 0 for entry in left
    )


def test_a_newer_download_of_a_key_supersedes_the_older_once_nobody_uses_it() -> None:
    old, new = an_entry("old", used_at=1, key="k"), an_entry("new", used_at=2, key="k")
    tree = an_entry("tree", used_at=0, key="k", form=Form.TREE)

    assert newest([old, new, tree], "k", Form.TAR) is new
    assert superseded([old, new, tree], set()) == [old]
    assert superseded([old, new, tree], {"old"}) == []


def test_names_of_the_cache() -> None:
    assert stem("key") == "3c6e0b8a9c15224a8228b9a98ca1531d"
    assert strangers(["a", "b"], [an_entry("a")]) == ["b"]
