"""The JSON form of Go's encoder, both ways: contract/messages.md section 4, a rule a test."""

import json
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from diego.wire import (
    actions_pb2,
    actual_lrp_pb2,
    actual_lrp_requests_pb2,
    cells_pb2,
    desired_lrp_pb2,
    events_pb2,
    image_layer_pb2,
    locket_pb2,
    metric_tags_pb2,
    security_group_pb2,
    task_pb2,
    task_requests_pb2,
    volume_mount_pb2,
)
from diego.wire.gojson import GoJsonError, from_go, to_go


def an_actual_lrp() -> actual_lrp_pb2.ActualLRP:
    return actual_lrp_pb2.ActualLRP(
        actual_lrp_key=actual_lrp_pb2.ActualLRPKey(process_guid="web", index=2, domain="samples"),
        actual_lrp_instance_key=actual_lrp_pb2.ActualLRPInstanceKey(instance_guid="i-2", cell_id="cell-1"),
        state="RUNNING",
        since=1_700_000_000_000_000_000,
        presence=actual_lrp_pb2.ActualLRP.SUSPECT,
        routable=False,
    )


def test_an_actual_lrp_is_written_as_go_writes_it() -> None:
    assert to_go(an_actual_lrp()) == {
        "process_guid": "web",
        "index": 2,
        "domain": "samples",
        "instance_guid": "i-2",
        "cell_id": "cell-1",
        "address": "",
        "ports": None,
        "preferred_address": "UNKNOWN",
        "crash_count": 0,
        "state": "RUNNING",
        "since": 1_700_000_000_000_000_000,
        "modification_tag": {"epoch": "", "index": 0},
        "presence": "SUSPECT",
        "OptionalRoutable": {"routable": False},
        "availability_zone": "",
    }


def test_keys_stand_in_the_order_of_the_definition() -> None:
    keys = list(to_go(an_actual_lrp()))

    assert keys[:5] == ["process_guid", "index", "domain", "instance_guid", "cell_id"]
    assert keys[-2:] == ["OptionalRoutable", "availability_zone"]


def test_an_unset_wrapped_field_is_null() -> None:
    lrp = an_actual_lrp()
    lrp.ClearField("routable")

    assert to_go(lrp)["OptionalRoutable"] is None
    assert not from_go(actual_lrp_pb2.ActualLRP, to_go(lrp)).HasField("routable")


def test_the_wrapped_keys_have_the_case_of_the_definition() -> None:
    info = events_pb2.ActualLRPInfo(Routable=True)

    assert to_go(info)["OptionalRoutable"] == {"Routable": True}


def test_routes_are_raw_json_and_not_base64() -> None:
    lrp = desired_lrp_pb2.DesiredLRP()
    lrp.routes.routes["tcp-router"] = b"[]"
    lrp.routes.routes["cf-router"] = b'[ {"port": 8080, "hostnames": ["a"]} ]'

    written = to_go(lrp)["routes"]

    assert written == {"cf-router": [{"port": 8080, "hostnames": ["a"]}], "tcp-router": []}
    assert list(written) == ["cf-router", "tcp-router"]


def test_unset_routes_are_left_out_or_null_and_empty_ones_are_an_object() -> None:
    lrp = desired_lrp_pb2.DesiredLRP()
    info = desired_lrp_pb2.DesiredLRPSchedulingInfo()

    assert "routes" not in to_go(lrp)
    assert to_go(info)["routes"] is None

    lrp.routes.SetInParent()

    assert to_go(lrp)["routes"] == {}


def test_routes_that_are_no_json_are_named() -> None:
    lrp = desired_lrp_pb2.DesiredLRP()
    lrp.routes.routes["cf-router"] = b"{"

    with pytest.raises(GoJsonError, match=r"^routes\.cf-router: is no JSON"):
        to_go(lrp)


def test_routes_are_read_as_compact_text() -> None:
    lrp = from_go(desired_lrp_pb2.DesiredLRP, {"routes": {"cf-router": [{"hostnames": ["ä"], "port": 1}]}})

    assert lrp.routes.routes["cf-router"] == '[{"hostnames":["ä"],"port":1}]'.encode()


def test_a_desired_lrp_has_the_keys_of_the_operators_tool() -> None:
    lrp = from_go(
        desired_lrp_pb2.DesiredLRP,
        {
            "rootfs": "preloaded:cflinuxfs4",
            "env": [{"name": "A", "value": "1"}],
            "placement_tags": ["gpu"],
            "deprecated_timeout_ns": 5,
            "setup": {"download": {"from": "http://x", "to": "/", "user": "vcap"}},
            "action": {"timeout": {"timeout_ms": 5, "action": {"run": {"path": "ls", "user": "vcap"}}}},
        },
    )

    assert lrp.root_fs == "preloaded:cflinuxfs4"
    assert lrp.environment_variables[0].name == "A"
    assert list(lrp.PlacementTags) == ["gpu"]
    assert lrp.deprecated_start_timeout_s == 5
    assert getattr(lrp.setup.download_action, "from") == "http://x"
    assert lrp.action.timeout_action.action.run_action.path == "ls"


def test_lists_that_are_not_left_out_are_null_when_never_set() -> None:
    written = to_go(desired_lrp_pb2.DesiredLRP())

    assert written["env"] is None
    assert written["volume_mounted_files"] is None
    assert "egress_rules" not in written


def test_a_tasks_definition_stands_among_its_own_keys() -> None:
    task = task_pb2.Task(task_guid="t", state=task_pb2.Task.Running)

    assert to_go(task)["state"] == "Running"
    assert "rootfs" not in to_go(task)

    task.task_definition.root_fs = "preloaded:x"

    assert to_go(task)["rootfs"] == "preloaded:x"
    assert from_go(task_pb2.Task, to_go(task)) == task


def test_a_task_without_a_key_of_a_definition_has_none() -> None:
    assert not from_go(task_pb2.Task, {"task_guid": "t"}).HasField("task_definition")
    assert from_go(task_pb2.Task, {"rootfs": ""}).HasField("task_definition")


def test_messages_with_an_encoding_of_their_own_are_flat() -> None:
    request = actual_lrp_requests_pb2.ActualLRPsRequest()
    assert "index" not in to_go(request)
    request.index = 0
    assert to_go(request)["index"] == 0

    assert to_go(desired_lrp_pb2.DesiredLRPUpdate()) == {}
    assert to_go(desired_lrp_pb2.DesiredLRPUpdate(instances=0, annotation="")) == {
        "instances": 0,
        "annotation": "",
    }
    assert to_go(actions_pb2.ResourceLimits(nofile=0)) == {"nofile": 0}


def test_a_cells_annotations_are_never_null() -> None:
    presence = cells_pb2.CellPresence(cell_id="cell-1", rep_url="https://x:1801")

    assert json.dumps(to_go(presence)) == (
        '{"cell_id": "cell-1", "rep_address": "", "zone": "", "rep_url": "https://x:1801", "annotations": {}}'
    )


def test_a_presence_has_its_root_filesystems_under_the_older_key() -> None:
    presence = cells_pb2.CellPresence()
    presence.rootfs_providers.add(name="preloaded", properties=["cflinuxfs4"])
    presence.rootfs_providers.add(name="docker")

    assert to_go(presence)["rootfs_provider_list"] == [
        {"name": "preloaded", "properties": ["cflinuxfs4"]},
        {"name": "docker"},
    ]


def test_a_callback_leaves_out_only_an_empty_annotation() -> None:
    assert to_go(task_requests_pb2.TaskCallbackResponse(task_guid="t", created_at=5)) == {
        "task_guid": "t",
        "failed": False,
        "failure_reason": "",
        "result": "",
        "created_at": 5,
    }


def test_enums_are_names_but_for_two() -> None:
    layer = image_layer_pb2.ImageLayer(layer_type=image_layer_pb2.ImageLayer.SHARED)
    lrp = desired_lrp_pb2.DesiredLRP(update_strategy=desired_lrp_pb2.DesiredLRP.RECREATE)
    lock = locket_pb2.Resource(key="bbs", type_code=locket_pb2.LOCK)

    assert to_go(layer)["layer_type"] == "SHARED"
    assert to_go(lrp)["update_strategy"] == 1
    assert to_go(lock)["type_code"] == 1


def test_an_enum_number_without_a_name_is_written_as_its_digits() -> None:
    assert to_go(task_pb2.Task(state=9))["state"] == "9"  # type: ignore[arg-type]  # a later release's number


def test_an_unknown_enum_name_is_refused_but_for_dynamic_values() -> None:
    with pytest.raises(GoJsonError, match=r"^state: unknown name 'Lost', known are Invalid, Pending"):
        from_go(task_pb2.Task, {"state": "Lost"})

    assert from_go(metric_tags_pb2.MetricTagValue, {"dynamic": "LATER"}).dynamic == 0


def test_metric_tags_are_static_or_dynamic() -> None:
    tags = {"source_id": {"static": "web"}, "instance": {"dynamic": "INDEX"}}

    lrp = from_go(desired_lrp_pb2.DesiredLRP, {"metric_tags": tags})

    assert lrp.metric_tags["instance"].dynamic == metric_tags_pb2.MetricTagValue.INDEX
    assert to_go(lrp)["metric_tags"] == {"instance": {"dynamic": "INDEX"}, "source_id": {"static": "web"}}


def test_messages_held_by_pointer_are_null_when_unset() -> None:
    mount = volume_mount_pb2.VolumeMount(driver="nfs")

    assert to_go(mount)["shared"] is None
    assert from_go(volume_mount_pb2.VolumeMount, to_go(mount)) == mount


def test_messages_held_by_value_are_set_when_read() -> None:
    lrp = from_go(actual_lrp_pb2.ActualLRP, {})

    assert lrp.HasField("actual_lrp_key")
    assert lrp.HasField("modification_tag")


@pytest.mark.parametrize("key", ["process_guid", "Process_GUID", "PROCESS_GUID"])
def test_keys_match_whatever_their_case(key: str) -> None:
    assert from_go(desired_lrp_pb2.DesiredLRP, {key: "web"}).process_guid == "web"


def test_unknown_keys_are_ignored_unless_they_are_asked_to_be_a_fault() -> None:
    value = {"action": {"run": {"path": "ls", "users": "vcap"}}}

    assert from_go(desired_lrp_pb2.DesiredLRP, value).action.run_action.path == "ls"
    with pytest.raises(GoJsonError, match=r"^action\.run\.users: unknown key$"):
        from_go(desired_lrp_pb2.DesiredLRP, value, unknown_keys=False)


def test_an_unknown_key_that_is_a_fields_own_name_is_told_its_key() -> None:
    with pytest.raises(GoJsonError, match=r"^root_fs: unknown key, the key is 'rootfs'$"):
        from_go(desired_lrp_pb2.DesiredLRP, {"root_fs": "x"}, unknown_keys=False)


def test_null_is_unset() -> None:
    lrp = from_go(desired_lrp_pb2.DesiredLRP, {"process_guid": None, "action": None, "ports": None})

    assert lrp == desired_lrp_pb2.DesiredLRP()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ([], "expected an object, got a list"),
        ({"process_guid": 5}, "process_guid: expected a text, got a number"),
        ({"instances": "3"}, "instances: expected a whole number, got a text"),
        ({"instances": 1.5}, "instances: expected a whole number, got a number with a fraction"),
        ({"instances": True}, "instances: expected a whole number, got true or false"),
        ({"instances": 2**31}, "instances: 2147483648 is not between -2147483648 and 2147483647"),
        ({"privileged": 1}, "privileged: expected true or false, got a number"),
        ({"ports": 8080}, "ports: expected a list, got a number"),
        ({"ports": [1, "2"]}, "ports[1]: expected a whole number, got a text"),
        ({"ports": [-1]}, "ports[0]: -1 is not between 0 and 4294967295"),
        ({"routes": []}, "routes: expected an object, got a list"),
        ({"env": [{"name": "A"}, {"name": 1}]}, "env[1].name: expected a text, got a number"),
        ({"metric_tags": {"a": "b"}}, "metric_tags.a: expected an object, got a text"),
        ({"network": {"properties": {"a": 1}}}, "network.properties.a: expected a text, got a number"),
        ({"action": {"run": {"args": "x"}}}, "action.run.args: expected a list, got a text"),
    ],
)
def test_a_value_that_does_not_fit_is_named(value: Any, fault: str) -> None:
    with pytest.raises(GoJsonError) as raised:
        from_go(desired_lrp_pb2.DesiredLRP, value)

    assert str(raised.value) == fault


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ports = st.lists(st.integers(0, 2**32 - 1), max_size=3)
actions = st.recursive(
    st.builds(
        lambda path, args: actions_pb2.Action(run_action=actions_pb2.RunAction(path=path, args=args)),
        texts,
        st.lists(texts, max_size=2),
    ),
    lambda inner: st.builds(
        lambda each: actions_pb2.Action(serial_action=actions_pb2.SerialAction(actions=each)),
        st.lists(inner, max_size=3),
    ),
    max_leaves=5,
)
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(
        desired_lrp_pb2.DesiredLRP,
        process_guid=texts,
        instances=st.integers(-(2**31), 2**31 - 1),
        ports=ports,
        action=actions,
        PlacementTags=st.lists(texts, max_size=2),
        privileged=st.booleans(),
    ),
    st.builds(
        security_group_pb2.SecurityGroupRule, protocol=texts, ports=ports, destinations=st.lists(texts)
    ),
    st.builds(
        actual_lrp_pb2.ActualLRPNetInfo,
        address=texts,
        ports=st.lists(st.builds(actual_lrp_pb2.PortMapping, container_port=st.integers(0, 2**32 - 1))),
    ),
    st.builds(
        task_pb2.Task,
        task_guid=texts,
        created_at=st.integers(-(2**63), 2**63 - 1),
        state=st.sampled_from(sorted(task_pb2.Task.State.values())),
        task_definition=st.builds(task_pb2.TaskDefinition, action=actions, memory_mb=st.integers(0, 9)),
    ),
)


@given(messages)
def test_what_is_written_is_read_back_the_same(message: Message) -> None:
    text = json.dumps(to_go(message))

    assert from_go(type(message), json.loads(text), unknown_keys=False) == message
