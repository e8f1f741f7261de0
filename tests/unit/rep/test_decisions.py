"""What the rep decides: which work it takes, what definitions become, what the BBS is told (contract/rep.md)."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.executor.core.containers import Container, Outcome, State
from diego.executor.core.requests import RunRequest
from diego.executor.core.resources import Demand, Room
from diego.models.errors import ErrorType
from diego.rep.config import RepConfig
from diego.rep.core.capacity import (
    CellFacts,
    cell_state,
    lrp_reservation,
    task_reservation,
    that_fit,
)
from diego.rep.core.conversion import (
    CannotConvert,
    NotSupported,
    RootfsUnknown,
    internal_routes,
    lrp_request,
    resolve_rootfs,
    task_request,
)
from diego.rep.core.operations import OperationQueue
from diego.rep.core.reconcile import (
    ContainerOperation,
    LrpCall,
    MissingLrpOperation,
    MissingTaskOperation,
    TaskCall,
    bulk_operations,
    loses_claim,
    loses_start,
    loses_task,
    lrp_call,
    must_run,
    task_call,
)
from diego.rep.core.work import BadWork, LrpWork, TaskWork, Work, decode_work
from diego.rep.presence import owner, presence, rep_url
from diego.runtime.config import ConfigError, parse
from diego.wire.actions_pb2 import Action, RunAction
from diego.wire.actual_lrp_pb2 import ActualLRP, ActualLRPInstanceKey, ActualLRPKey
from diego.wire.cached_dependency_pb2 import CachedDependency
from diego.wire.check_definition_pb2 import Check, CheckDefinition, TCPCheck
from diego.wire.desired_lrp_pb2 import DesiredLRP, ProtoRoutes
from diego.wire.environment_variables_pb2 import EnvironmentVariable
from diego.wire.image_layer_pb2 import ImageLayer
from diego.wire.log_rate_limit_pb2 import LogRateLimit
from diego.wire.metric_tags_pb2 import MetricTagValue
from diego.wire.sidecar_pb2 import Sidecar
from diego.wire.task_pb2 import Task, TaskDefinition
from diego.wire.volume_mount_pb2 import VolumeMount

STACKS = {"cflinuxfs4": "/stacks/cflinuxfs4.tar"}


def lrp_work(guid: str = "p", memory_mb: int = 64) -> LrpWork:
    return LrpWork(guid, 0, "d", "preloaded:cflinuxfs4", memory_mb, 128)


def an_lrp_container(state: State = State.RUNNING, **more: Any) -> Container:
    demand, tags = lrp_reservation(lrp_work(), "instance")
    return replace(Container("instance", demand, tags, 0.0), state=state, **more)


def a_task_container(state: State = State.RUNNING, **more: Any) -> Container:
    demand, tags = task_reservation(TaskWork("task", "d", "preloaded:cflinuxfs4", 64, 128))
    return replace(Container("task", demand, tags, 0.0), state=state, **more)


# Work


@given(st.lists(st.integers(0, 400), max_size=12), st.integers(0, 1000))
def test_the_largest_that_fit_are_taken_first(sizes: list[int], free: int) -> None:
    lrps = [lrp_work(str(number), size) for number, size in enumerate(sizes)]

    fitting, failed = that_fit(lrps, free)

    assert sorted(lrp.process_guid for lrp in (*fitting, *failed)) == sorted(lrp.process_guid for lrp in lrps)
    assert sum(lrp.memory_mb for lrp in fitting) <= free
    left = free - sum(lrp.memory_mb for lrp in fitting)
    assert all(lrp.memory_mb > left for lrp in failed)


def test_equal_lrps_keep_their_order() -> None:
    lrps = [lrp_work("a", 10), lrp_work("b", 20), lrp_work("c", 10)]

    assert [lrp.process_guid for lrp in that_fit(lrps, 1000)[0]] == ["b", "a", "c"]


def test_work_is_read_in_any_case_and_written_as_recorded() -> None:
    recorded = (
        b'{"LRPs":[{"instance_guid":"","process_guid":"a","index":1,"domain":"d","PlacementTags":null,'
        b'"VolumeDrivers":[],"RootFs":"preloaded:x","MemoryMB":128,"DiskMB":256,"MaxPids":0,"state":""}],'
        b'"Tasks":[{"TaskGuid":"t","Domain":"d","PlacementTags":["x"],"VolumeDrivers":null,"RootFs":"r",'
        b'"MemoryMB":64,"DiskMB":64,"MaxPids":0,"state":"Invalid","failed":false}],"cell_id":"cell-a"}'
    )

    work = decode_work(recorded)

    assert work.encode() == recorded + b"\n"
    assert decode_work(recorded.lower()).lrps[0].process_guid == "a"
    assert decode_work(b'{"LRPs":null,"unknown":1}') == Work()


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"1", b'{"LRPs":{}}', b'{"LRPs":[1]}', b'{"LRPs":[{"index":true}]}', b"[" * 100_000],
)
def test_what_is_no_work_is_told_apart(body: bytes) -> None:
    with pytest.raises(BadWork):
        decode_work(body)


# The state

FACTS = CellFacts("cell-1", 3, "z1", "https://x", ("cflinuxfs4",), ("docker",), (), ("gpu",))


def a_state(*containers: Container) -> Any:
    return json.loads(
        cell_state(FACTS, containers, total=Room(10, 20, 30), free=Room(1, 2, 3), evacuating=False)
    )


def test_the_state_has_the_recorded_keys() -> None:
    found = a_state()

    assert list(found) == [
        "rep_url",
        "cell_id",
        "cell_index",
        "RootFSProviders",
        "AvailableResources",
        "TotalResources",
        "LRPs",
        "Tasks",
        "StartingContainerCount",
        "Zone",
        "Evacuating",
        "VolumeDrivers",
        "PlacementTags",
        "OptionalPlacementTags",
        "ProxyMemoryAllocationMB",
    ]
    assert found["RootFSProviders"] == {
        "docker": {"type": "arbitrary"},
        "preloaded": {"type": "fixed_set", "set": {"cflinuxfs4": {}}},
        "preloaded+layer": {"type": "fixed_set", "set": {"cflinuxfs4": {}}},
    }
    assert found["AvailableResources"] == {"MemoryMB": 1, "DiskMB": 2, "Containers": 3}


@pytest.mark.parametrize(
    ("container", "name"),
    [
        (an_lrp_container(State.RESERVED), "CLAIMED"),
        (an_lrp_container(State.INITIALIZING), "CLAIMED"),
        (an_lrp_container(State.CREATED), "CLAIMED"),
        (an_lrp_container(State.RUNNING), "RUNNING"),
        (an_lrp_container(State.COMPLETED, outcome=Outcome(failed=False)), "SHUTDOWN"),
        (an_lrp_container(State.COMPLETED, outcome=Outcome(failed=True)), "CRASHED"),
    ],
)
def test_states_of_lrps_by_state_of_container(container: Container, name: str) -> None:
    assert a_state(container)["LRPs"][0]["state"] == name


def test_tasks_are_running_until_they_are_completed() -> None:
    running, completed = a_state(
        a_task_container(State.RESERVED), a_task_container(State.COMPLETED, outcome=Outcome(failed=True))
    )["Tasks"]

    assert (running["state"], running["failed"]) == ("Running", False)
    assert (completed["state"], completed["failed"]) == ("Completed", True)


def test_reserved_initializing_and_created_containers_are_starting() -> None:
    assert a_state(*(an_lrp_container(state) for state in State))["StartingContainerCount"] == 3


# Conversion


def a_desired_lrp(**more: Any) -> DesiredLRP:
    return DesiredLRP(
        process_guid="p",
        root_fs="preloaded:cflinuxfs4",
        action=Action(run_action=RunAction(path="/app")),
        log_guid="log",
        **more,
    )


def converted(lrp: DesiredLRP) -> RunRequest:
    return lrp_request(lrp, "instance", 2, STACKS)


@pytest.mark.parametrize(
    ("rootfs", "uri"),
    [
        ("", ""),
        ("preloaded:cflinuxfs4", "/stacks/cflinuxfs4.tar"),
        ("preloaded+layer:cflinuxfs4?layer=x", "preloaded+layer:/stacks/cflinuxfs4.tar?layer=x"),
        ("docker://host/repo#tag", "docker://host/repo#tag"),
    ],
)
def test_root_filesystems(rootfs: str, uri: str) -> None:
    assert resolve_rootfs(rootfs, STACKS) == uri


@pytest.mark.parametrize("rootfs", ["preloaded:windows", "preloaded+layer:windows?x", "preloaded:"])
def test_an_unknown_stack_is_refused(rootfs: str) -> None:
    with pytest.raises(RootfsUnknown, match="preloaded rootfs path not found"):
        resolve_rootfs(rootfs, STACKS)


def test_an_instance_knows_its_guid_and_index_before_its_own_variables() -> None:
    lrp = a_desired_lrp(environment_variables=[EnvironmentVariable(name="INSTANCE_GUID", value="mine")])

    assert converted(lrp).env == (
        ("INSTANCE_GUID", "instance"),
        ("INSTANCE_INDEX", "2"),
        ("CF_INSTANCE_GUID", "instance"),
        ("CF_INSTANCE_INDEX", "2"),
        ("INSTANCE_GUID", "mine"),
    )


def test_what_an_absent_field_becomes() -> None:
    request = converted(a_desired_lrp())

    assert request.cpu_weight == 1
    assert request.log_bytes_per_second == -1
    assert (request.setup, request.monitor, request.check_definition) == (None, None, None)
    assert (request.log.index, request.log.source_name) == (2, "LOG")


def test_a_log_limit_of_0_is_not_an_absent_one() -> None:
    assert converted(a_desired_lrp(log_rate_limit=LogRateLimit())).log_bytes_per_second == 0


def test_metric_tags_take_index_and_guid_of_the_instance() -> None:
    tags = {
        "static": MetricTagValue(static="x"),
        "index": MetricTagValue(dynamic=MetricTagValue.INDEX),
        "guid": MetricTagValue(dynamic=MetricTagValue.INSTANCE_GUID),
    }

    assert converted(a_desired_lrp(metric_tags=tags)).log.tags == {
        "static": "x",
        "index": "2",
        "guid": "instance",
    }


def test_a_dynamic_tag_of_a_task_makes_its_conversion_fail() -> None:
    definition = TaskDefinition(metric_tags={"i": MetricTagValue(dynamic=MetricTagValue.INDEX)})

    with pytest.raises(CannotConvert):
        task_request(Task(task_guid="t", task_definition=definition), STACKS)


def test_a_task_has_its_own_variables_only_and_no_ports() -> None:
    definition = TaskDefinition(
        root_fs="preloaded:cflinuxfs4",
        environment_variables=[EnvironmentVariable(name="A", value="1")],
        result_file="/result",
    )

    request = task_request(Task(task_guid="t", task_definition=definition), STACKS)

    assert (request.env, request.ports, request.result_file) == ((("A", "1"),), (), "/result")
    assert (request.guid, request.cpu_weight) == ("t", 0)


def a_layer(kind: ImageLayer.Type.ValueType, **more: Any) -> ImageLayer:
    return ImageLayer(name="layer", url="http://x/l", destination_path="/l", layer_type=kind, **more)


def test_shared_layers_are_dependencies_before_the_definitions_own() -> None:
    layers = [
        a_layer(ImageLayer.SHARED, digest_algorithm=ImageLayer.SHA256, digest_value="ab"),
        a_layer(ImageLayer.SHARED),
    ]
    lrp = a_desired_lrp(image_layers=layers, cached_dependencies=[CachedDependency(name="own")])

    dependencies = converted(lrp).cached_dependencies

    assert [one.cache_key for one in dependencies] == ["sha256:ab", "http://x/l", ""]
    assert [one.name for one in dependencies] == ["layer", "layer", "own"]
    assert (dependencies[0].checksum_algorithm, dependencies[0].checksum_value) == ("sha256", "ab")


def test_exclusive_layers_are_downloaded_side_by_side_before_the_setup() -> None:
    setup = Action(run_action=RunAction(path="/setup"))
    layer = a_layer(ImageLayer.EXCLUSIVE, digest_algorithm=ImageLayer.SHA256, digest_value="ab")
    lrp = a_desired_lrp(image_layers=[layer], setup=setup, legacy_download_user="vcap")

    found = converted(lrp).setup

    assert found is not None
    first, second = found.serial_action.actions
    assert second == setup
    download = first.parallel_action.actions[0].download_action
    assert (download.artifact, download.to, download.user) == ("layer", "/l", "vcap")
    assert (download.cache_key, getattr(download, "from")) == ("sha256:ab", "http://x/l")


@pytest.mark.parametrize(
    ("lrp", "why"),
    [
        (a_desired_lrp(sidecars=[Sidecar()]), "sidecars are not supported"),
        (
            a_desired_lrp(volume_mounts=[VolumeMount(driver="nfs")]),
            "Plugin 'nfs' not found in list of known plugins",
        ),
        (
            a_desired_lrp(
                check_definition=CheckDefinition(readiness_checks=[Check(tcp_check=TCPCheck(port=1))])
            ),
            "readiness checks are not supported",
        ),
    ],
)
def test_what_this_cell_cannot_do_is_refused_with_a_reason(lrp: DesiredLRP, why: str) -> None:
    with pytest.raises(NotSupported, match=why):
        converted(lrp)


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        (b'[{"hostname":"a.b"},{"hostname":"c.d"}]', ("a.b", "c.d")),
        (b"null", ()),
        (b"", ()),
        (b"nonsense", ()),
        (b'{"a":1}', ()),
    ],
)
def test_internal_routes(entry: bytes, names: tuple[str, ...]) -> None:
    lrp = a_desired_lrp(routes=ProtoRoutes(routes={"internal-router": entry}))

    assert internal_routes(lrp.routes.routes) == names
    assert internal_routes({}) == ()


# Containers and the BBS


@pytest.mark.parametrize(
    ("container", "call"),
    [
        (an_lrp_container(State.RESERVED), LrpCall.CLAIM),
        (an_lrp_container(State.INITIALIZING), LrpCall.CLAIM),
        (an_lrp_container(State.CREATED), LrpCall.CLAIM),
        (an_lrp_container(State.RUNNING), LrpCall.START),
        (an_lrp_container(State.COMPLETED, outcome=Outcome(failed=True)), LrpCall.CRASH),
        (an_lrp_container(State.COMPLETED, outcome=Outcome(failed=False)), LrpCall.CRASH),
        (
            an_lrp_container(State.COMPLETED, outcome=Outcome(failed=True), stop_wanted=True),
            LrpCall.REMOVE,
        ),
    ],
)
def test_what_the_bbs_is_told_of_an_lrp(container: Container, call: LrpCall) -> None:
    assert lrp_call(container) is call


@pytest.mark.parametrize(
    ("container", "call"),
    [
        *[(a_task_container(state), TaskCall.START) for state in State if state is not State.COMPLETED],
        (a_task_container(State.COMPLETED, outcome=Outcome(failed=False)), TaskCall.COMPLETE),
        (a_task_container(State.COMPLETED, outcome=Outcome(failed=True)), TaskCall.COMPLETE),
        (
            a_task_container(State.COMPLETED, outcome=Outcome(failed=True, retryable=True)),
            TaskCall.REJECT,
        ),
    ],
)
def test_what_the_bbs_is_told_of_a_task(container: Container, call: TaskCall) -> None:
    assert task_call(container) is call


def test_which_refusals_take_a_container_away() -> None:
    assert [error for error in ErrorType if loses_claim(error)] == [ErrorType.ACTUAL_LRP_CANNOT_BE_CLAIMED]
    assert [error for error in ErrorType if loses_start(error)] == [ErrorType.ACTUAL_LRP_CANNOT_BE_STARTED]
    assert {error for error in ErrorType if loses_task(error)} == {
        ErrorType.INVALID_STATE_TRANSITION,
        ErrorType.RESOURCE_NOT_FOUND,
    }


def test_a_task_whose_start_was_answered_in_vain_is_run_from_its_reservation_only() -> None:
    task = Task(task_guid="task", state=Task.Running, cell_id="cell-1")

    assert must_run(task, "cell-1", a_task_container(State.RESERVED))
    assert not must_run(task, "cell-1", a_task_container(State.INITIALIZING))
    assert not must_run(task, "cell-2", a_task_container(State.RESERVED))
    assert not must_run(Task(task_guid="task", state=Task.Completed), "", a_task_container(State.RESERVED))


def a_row(guid: str, presence: ActualLRP.Presence.ValueType = ActualLRP.ORDINARY) -> ActualLRP:
    return ActualLRP(
        actual_lrp_key=ActualLRPKey(process_guid="p", index=1, domain="d"),
        actual_lrp_instance_key=ActualLRPInstanceKey(instance_guid=guid, cell_id="cell-1"),
        presence=presence,
    )


def missing(guid: str, *, remove: bool, remove_evacuating: bool) -> MissingLrpOperation:
    return MissingLrpOperation(guid, "p", 1, "d", "cell-1", remove, remove_evacuating)


def test_a_bulk_sync_looks_at_every_container_and_at_every_record_without_one() -> None:
    rows = [
        a_row("here"),
        a_row("ordinary"),
        a_row("suspect", ActualLRP.SUSPECT),
        a_row("both"),
        a_row("both", ActualLRP.EVACUATING),
        a_row("evacuating", ActualLRP.EVACUATING),
    ]
    tasks = [Task(task_guid="here-too"), Task(task_guid="lost")]

    operations = bulk_operations(["here", "here-too"], rows, tasks)

    assert operations == [
        ContainerOperation("here"),
        ContainerOperation("here-too"),
        missing("ordinary", remove=True, remove_evacuating=False),
        missing("suspect", remove=True, remove_evacuating=False),
        missing("both", remove=True, remove_evacuating=True),
        missing("evacuating", remove=False, remove_evacuating=True),
        MissingTaskOperation("lost"),
    ]


@given(
    st.sets(st.sampled_from("abcdef")),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.sampled_from([0, 1, 2]))),
    st.sets(st.sampled_from("uvwa")),
)
def test_every_key_of_a_bulk_sync_has_exactly_one_operation(
    containers: set[str], rows: list[tuple[str, Any]], tasks: set[str]
) -> None:
    operations = bulk_operations(
        sorted(containers),
        [a_row(guid, presence) for guid, presence in rows],
        [Task(task_guid=guid) for guid in sorted(tasks)],
    )

    guids = [operation.guid for operation in operations]
    assert len(guids) == len(set(guids))
    assert set(guids) == containers | {guid for guid, _ in rows} | tasks
    assert {one.guid for one in operations if isinstance(one, ContainerOperation)} == containers


# The queue


def test_the_newest_waiting_operation_takes_the_place_of_the_older() -> None:
    queue: OperationQueue[str] = OperationQueue()

    assert queue.push("key", "first") == "first"
    assert queue.push("key", "second") is None
    assert queue.push("key", "third") is None
    assert queue.finished("key") == "third"
    assert queue.finished("key") is None
    assert queue.push("key", "fourth") == "fourth"


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=80))
def test_one_operation_of_a_key_runs_at_a_time_and_the_newest_is_never_lost(
    history: list[tuple[str, bool]],
) -> None:
    queue: OperationQueue[int] = OperationQueue()
    running: dict[str, int] = {}
    newest: dict[str, int] = {}

    for number, (key, is_push) in enumerate(history):
        if is_push:
            newest[key] = number
            begun = queue.push(key, number)
            assert (begun is None) == (key in running)
            if begun is not None:
                running[key] = begun
        elif key in running:
            following = queue.finished(key)
            last = running.pop(key)
            if following is None:
                assert last == newest[key]
            else:
                assert following == newest[key]
                running[key] = following

    assert len(queue) == len(running)


# Configuration and presence


def a_config(**more: Any) -> RepConfig:
    keys = {"cell_id": "cell_a", "cert_file": "c", "key_file": "k", "ca_cert_file": "a", **more}
    return parse(RepConfig, json.dumps(keys))


def test_few_keys_must_be_set() -> None:
    config = a_config(preloaded_root_fs=["cflinuxfs4:/a:b.tar"], memory_mb=4096)

    assert config.stacks == {"cflinuxfs4": "/a:b.tar"}
    assert (config.polling_interval, config.lock_ttl) == (30.0, 15.0)


@pytest.mark.parametrize(
    ("key", "value", "fault"),
    [
        ("memory_mb", "much", "memory_mb: memory limit must be a positive number or 'auto'"),
        ("memory_mb", True, "memory_mb: memory limit must be a positive number or 'auto'"),
        ("disk_mb", -1, "disk_mb: disk limit must be a positive number or 'auto'"),
        ("preloaded_root_fs", ["x:"], "preloaded_root_fs: not of the form name:path: 'x:'"),
        ("graceful_shutdown_interval", "9s", "graceful_shutdown_interval: must be at least 10s"),
        ("container_max_cpu_shares", 0, "container_max_cpu_shares: must be positive"),
        ("healthy_monitoring_interval", "0s", "healthy_monitoring_interval: must be positive"),
        ("garden_healthcheck_process_user", "", "garden_healthcheck_process_user: must not be empty"),
        ("enable_container_proxy", True, "enable_container_proxy: this cell has no container proxy yet"),
        ("no_such_key", 1, "no_such_key: unknown key"),
    ],
)
def test_faults_of_a_configuration_name_the_key(key: str, value: Any, fault: str) -> None:
    with pytest.raises(ConfigError) as raised:
        a_config(**{key: value})

    assert any(fault in line for line in raised.value.faults)


def test_the_presence_names_the_cell_as_the_contract_does() -> None:
    config = a_config(placement_tags=["gpu"], zone="z1")

    value = json.loads(presence(config, Room(10, 20, 30), ("cflinuxfs4@1.2",)).value())

    assert rep_url(config) == "https://cell-a.cell.service.cf.internal:1801"
    assert value["rep_address"].endswith(":1800")
    assert value["capacity"] == {"memory_mb": 10, "disk_mb": 20, "containers": 30}
    assert value["rootfs_provider_list"][0] == {"name": "preloaded", "properties": ["cflinuxfs4@1.2"]}
    assert value["placement_tags"] == ["gpu"]
    assert "optional_placement_tags" not in value


def test_the_owner_of_a_presence_outlives_the_process(tmp_path: Any) -> None:
    first = owner(tmp_path)

    assert owner(tmp_path) == first
    (tmp_path / "presence-owner").write_text("damaged")
    assert owner(tmp_path) != first


def test_a_demand_is_never_negative() -> None:
    demand, _ = lrp_reservation(replace(lrp_work(), memory_mb=-5, disk_mb=-1), "i")

    assert demand == Demand(0, 0, 0, "preloaded:cflinuxfs4")
