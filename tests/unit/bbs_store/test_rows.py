"""Records come back from their columns as they were (contract/lifecycle.md sections 10 and 11)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.bbs.store import UnreadableDesired, rows
from diego.bbs.store.encryption import Encryption
from diego.models import ActualLRP, ActualLRPState, DesiredLRP, Presence, TaskState
from diego.models.desired_lrp import DesiredParts
from diego.wire import desired_lrp_pb2, volume_mount_pb2
from support.stored import NOW, a_desired_lrp, a_task, an_actual_lrp

KEYS = Encryption("key", {"key": "secret"})


def desired_row(record: DesiredLRP, **changes: Any) -> tuple[Any, ...]:
    columns = dict(zip(rows.DESIRED_COLUMNS, rows.desired_columns(record, KEYS), strict=True))
    return tuple({**columns, **changes}.values())


def test_a_desired_lrp_comes_back_whole() -> None:
    record = a_desired_lrp(index=7)

    assert rows.desired_record(rows.desired_columns(record, KEYS), KEYS) == record


def test_a_desired_lrp_without_anything_optional_comes_back_whole() -> None:
    record = DesiredLRP.of(desired_lrp_pb2.DesiredLRP(process_guid="p", domain="d"), NOW)

    assert rows.desired_record(rows.desired_columns(record, KEYS), KEYS) == record


def test_every_field_of_a_desired_lrp_has_a_column_or_a_place_in_the_run_info() -> None:
    elsewhere = {
        "process_guid", "domain", "log_guid", "root_fs", "instances", "memory_mb", "disk_mb", "max_pids", "routes",
        "annotation", "modification_tag", "PlacementTags", "metric_tags", "update_strategy",
    }  # fmt: skip
    shared = set(desired_lrp_pb2.DesiredLRPRunInfo.DESCRIPTOR.fields_by_name) - {
        "desired_lrp_key", "created_at", "metric_tags",
    }  # fmt: skip

    assert set(desired_lrp_pb2.DesiredLRP.DESCRIPTOR.fields_by_name) == elsewhere | shared


def test_json_columns_hold_what_the_original_writes() -> None:
    columns = dict(zip(rows.DESIRED_COLUMNS, rows.desired_columns(a_desired_lrp(), KEYS), strict=True))

    assert columns["placement_tags"] == '["isolated","z/1"]'
    assert json.loads(KEYS.decrypt(columns["metric_tags"])) == {
        "source_id": {"static": "app-1"}, "instance_id": {"dynamic": "INDEX"},
    }  # fmt: skip
    assert json.loads(KEYS.decrypt(columns["routes"]))["internal-router"] == [
        {"hostname": "app.apps.internal"}
    ]


def clear_columns(record: Any) -> dict[str, bytes]:
    """What the encrypted columns of a row hold."""
    if isinstance(record, DesiredLRP):
        names: tuple[str, ...] = rows.DESIRED_COLUMNS
        columns = rows.desired_columns(record, KEYS)
    elif isinstance(record, ActualLRP):
        names, columns = rows.ACTUAL_COLUMNS, rows.actual_columns(record, KEYS)
    else:
        names, columns = rows.TASK_COLUMNS, rows.task_columns(record, KEYS)
    return {
        name: KEYS.decrypt(text)
        for name, text in zip(names, columns, strict=True)
        if isinstance(text, str) and text.startswith("02")
    }


def test_the_encrypted_columns_are_the_originals() -> None:
    assert set(clear_columns(a_desired_lrp())) == {"run_info", "volume_placement", "routes", "metric_tags"}
    assert set(clear_columns(an_actual_lrp())) == {"net_info", "internal_routes", "metric_tags"}
    assert set(clear_columns(a_task())) == {"task_definition"}


def test_protobuf_columns_have_a_header_and_json_columns_have_none() -> None:
    desired, actual, task = map(clear_columns, (a_desired_lrp(), an_actual_lrp(), a_task()))

    for content in (
        desired["run_info"], desired["volume_placement"], actual["net_info"], task["task_definition"],
    ):  # fmt: skip
        assert content[:2] == b"\x02\x00"
    run_info = desired_lrp_pb2.DesiredLRPRunInfo.FromString(desired["run_info"][2:])
    assert (run_info.desired_lrp_key.process_guid, run_info.created_at) == ("app-1", NOW)
    assert list(
        volume_mount_pb2.VolumePlacement.FromString(desired["volume_placement"][2:]).driver_names
    ) == ["nfs"]
    assert json.loads(actual["internal_routes"]) == [{"hostname": "app.apps.internal"}]
    assert json.loads(actual["metric_tags"])["source_id"] == "app-1"


def test_json_columns_of_an_instance_that_never_told_are_null() -> None:
    columns = clear_columns(an_actual_lrp(internal_routes=None, metric_tags=None))

    assert (columns["internal_routes"], columns["metric_tags"]) == (b"null", b"null")


def test_the_bytes_of_the_header_do_not_matter() -> None:
    record = a_desired_lrp()
    content = clear_columns(record)["run_info"]

    assert (
        rows.desired_record(desired_row(record, run_info=KEYS.encrypt(b"\x00\x01" + content[2:])), KEYS)
        == record
    )


def test_an_unreadable_run_info_makes_the_record_deletable() -> None:
    row = desired_row(a_desired_lrp(), run_info="02????")

    assert rows.desired_record(row, KEYS) == UnreadableDesired("app-1", "cf-apps", deletable=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"routes": "02????"},
        {"routes": KEYS.encrypt(b"[]")},
        {"routes": KEYS.encrypt(b'{"a":')},
        {"metric_tags": KEYS.encrypt(b"7")},
        {"metric_tags": KEYS.encrypt(b'{"a":{"dynamic":"NO_SUCH"}}')},
    ],
)
def test_unreadable_routes_or_tags_keep_the_record(changes: dict[str, str]) -> None:
    row = desired_row(a_desired_lrp(), **changes)

    assert rows.desired_record(row, KEYS) == UnreadableDesired("app-1", "cf-apps", deletable=False)


def test_null_columns_of_older_versions_are_read() -> None:
    row = desired_row(
        a_desired_lrp(), metric_tags=None, placement_tags=None, annotation=None, routes=KEYS.encrypt(b"null")
    )

    record = rows.desired_record(row, KEYS)

    assert isinstance(record, DesiredLRP)
    assert (record.metric_tags, record.internal_routes) == ((), None)


routers = st.dictionaries(
    st.text(max_size=8),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=5,
    ),
    max_size=4,
)


@given(routers, st.sampled_from([None, 1, 3]), st.booleans())
def test_the_text_of_a_route_comes_back_unchanged(
    routes: dict[str, Any], indent: int | None, ascii_only: bool
) -> None:
    told = {
        name: json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
        for name, value in routes.items()
    }

    assert rows.routes_of(rows.routes_json(told).decode()) == told


texts = st.text(max_size=200)


@given(st.dictionaries(texts, st.tuples(texts, st.sampled_from([0, 1, 2])), max_size=5))
def test_metric_tags_are_written_as_protobuf_writes_them(tags: dict[str, tuple[str, int]]) -> None:
    message = desired_lrp_pb2.DesiredLRP()
    for name, (static, dynamic) in tags.items():
        message.metric_tags[name].static = static
        message.metric_tags[name].dynamic = dynamic  # type: ignore[assignment]  # the stubs want the enum's own int
    wanted = sorted((name, static, dynamic) for name, (static, dynamic) in tags.items())

    parts = DesiredParts(metric_tags=rows.encoded_tags(wanted))

    assert parts.SerializeToString() == message.SerializeToString(deterministic=True)


@given(st.dictionaries(texts, st.binary(max_size=300), max_size=5))
def test_routes_are_written_as_protobuf_writes_them(routes: dict[str, bytes]) -> None:
    told = desired_lrp_pb2.ProtoRoutes(routes=routes).SerializeToString(deterministic=True)

    assert rows.encoded_routes(routes) == told


@pytest.mark.parametrize("dynamic", [-1, 2**31, 1.5, "NEITHER"])
def test_a_dynamic_value_that_is_none_is_refused(dynamic: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        rows.read_wanted_tags(json.dumps({"tag": {"dynamic": dynamic}}).encode())


@pytest.mark.parametrize("text", ["", "7", "{", '{"a"}', '{"a":1', '{"a":1,}', '{"a":1]'])
def test_routes_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        rows.routes_of(text)


@pytest.mark.parametrize(
    "lrp",
    [
        an_actual_lrp(),
        an_actual_lrp(presence=Presence.SUSPECT, internal_routes=None, metric_tags=None),
        an_actual_lrp(
            state=ActualLRPState.UNCLAIMED, net_info=b"", internal_routes=(), metric_tags={}, routable=False
        ),
    ],
)
def test_an_actual_lrp_comes_back_whole(lrp: Any) -> None:
    assert rows.actual_record(rows.actual_columns(lrp, KEYS), KEYS) == lrp


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("net_info", "02????"),
        ("state", "DANCING"),
        ("internal_routes", "x"),
        ("metric_tags", KEYS.encrypt(b"7")),
    ],
    ids=["net-info", "state", "internal-routes", "metric-tags"],
)
def test_an_unreadable_actual_lrp_is_known_by_its_identity(column: str, value: str) -> None:
    columns = dict(zip(rows.ACTUAL_COLUMNS, rows.actual_columns(an_actual_lrp(), KEYS), strict=True))

    found = rows.actual_record(tuple({**columns, column: value}.values()), KEYS)

    assert found == ("app-1", 0, Presence.ORDINARY)


def test_a_task_comes_back_whole() -> None:
    assert rows.task_record(rows.task_columns(a_task(), KEYS), KEYS) == a_task()


def test_a_task_whose_definition_cannot_be_read_has_none() -> None:
    columns = (*rows.task_columns(a_task(state=TaskState.PENDING), KEYS)[:-1], "02????")

    assert rows.task_record(columns, KEYS) == a_task(state=TaskState.PENDING, definition=None)
