"""Workloads as files: what they may say, and how their faults are told."""

from pathlib import Path

import pytest

from diego.cli.core.manifest import ManifestError, read_workloads
from diego.wire.desired_lrp_pb2 import DesiredLRP

SAMPLES = Path(__file__).resolve().parents[3] / "manifests/workloads"
ENVIRONMENT = {"APPS_DOMAIN": "apps.test", "FILE_SERVER_URL": "https://files:8443"}


def faults(text: str) -> list[str]:
    with pytest.raises(ManifestError) as raised:
        read_workloads(text, "app.yml", ENVIRONMENT)
    assert str(raised.value).startswith("app.yml: ")
    return raised.value.faults


def lrp(text: str) -> DesiredLRP:
    return read_workloads(f"desired_lrps: [{text}]", "app.yml", ENVIRONMENT).desired_lrps[0]


def test_entries_have_the_keys_of_the_operators_tool() -> None:
    read = read_workloads(
        "desired_lrps:\n"
        "  - {process_guid: web, domain: d, rootfs: 'preloaded:x', action: {run: {path: ls, user: vcap}}}\n"
        "tasks:\n"
        "  - {task_guid: t, domain: e, rootfs: 'preloaded:y', memory_mb: 5}\n",
        "app.yml",
        {},
    )

    assert read.desired_lrps[0].root_fs == "preloaded:x"
    assert read.desired_lrps[0].action.run_action.path == "ls"
    assert read.tasks[0].task_definition.memory_mb == 5
    assert read.domains == ("d", "e")


@pytest.mark.parametrize("name", ["web", "worker", "task"])
def test_the_samples_can_be_read(name: str) -> None:
    source = SAMPLES / f"{name}.yml"

    read = read_workloads(source.read_text(), source.name, ENVIRONMENT)

    assert read.domains == ("samples",)


def test_the_sample_app_gets_its_code_and_its_name_from_the_environment() -> None:
    read = read_workloads((SAMPLES / "web.yml").read_text(), "web.yml", ENVIRONMENT)

    web = read.desired_lrps[0]
    source = getattr(web.setup.download_action, "from")
    assert source == "https://files:8443/v1/static/workloads/web.tgz"
    assert b'"web.apps.test"' in web.routes.routes["cf-router"]


def test_a_variable_is_replaced_wherever_a_text_stands() -> None:
    assert lrp("{process_guid: 'web-${APPS_DOMAIN}-x'}").process_guid == "web-apps.test-x"


def test_a_value_is_never_taken_for_yaml() -> None:
    read = read_workloads(
        "tasks: [{task_guid: t, annotation: '${X}'}]", "app.yml", {"X": "{a: b} # no comment"}
    )

    assert read.tasks[0].task_definition.annotation == "{a: b} # no comment"


def test_a_shells_own_variables_stay() -> None:
    entry = lrp("{process_guid: web, annotation: 'echo $HOME $(date) $${count}'}")

    assert entry.annotation == "echo $HOME $(date) ${count}"


def test_a_variable_that_is_not_set_is_told_with_its_place() -> None:
    assert faults("tasks: [{task_guid: t, env: [{name: a, value: '${NOWHERE}'}]}]") == [
        "tasks[0].env[0].value: the environment does not set NOWHERE; `. .lab/env` sets a lab's"
    ]


def test_braces_that_name_no_variable_are_told() -> None:
    assert faults("tasks: [{task_guid: t, annotation: '${a b}'}]") == [
        "tasks[0].annotation: ${a b} is no variable; write $${ for the characters ${"
    ]


def test_all_faults_are_told_at_once() -> None:
    text = (
        "desired_lrps:\n"
        "  - {process_guid: web, instances: three}\n"
        "  - {domain: d, action: {run: {pth: ls}}}\n"
        "tasks: [{}]\n"
        "extra: 1\n"
    )

    assert faults(text) == [
        "extra: unknown key, known are desired_lrps and tasks",
        "desired_lrps[0].instances: expected a whole number, got a text",
        "desired_lrps[1].action.run.pth: unknown key",
        "tasks[0].task_guid: is missing",
    ]


def test_a_key_that_stands_twice_is_told_with_its_line() -> None:
    assert faults("tasks:\n  - task_guid: a\n    task_guid: b\n") == [
        "line 3, column 5: the key 'task_guid' stands here twice"
    ]


def test_text_that_is_no_yaml_is_told_with_its_line() -> None:
    (fault,) = faults("tasks:\n  - [a, b\n")

    assert fault.startswith("line 3, column 1: ")


def test_a_guid_that_stands_twice_is_told() -> None:
    assert faults("tasks: [{task_guid: t}, {task_guid: t}]") == ["tasks[1].task_guid: t stands here twice"]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "expected the keys desired_lrps and tasks at the top"),
        ("- a", "expected the keys desired_lrps and tasks at the top"),
        ("{}", "asks for nothing: desired_lrps and tasks are both absent or empty"),
        ("tasks: []", "asks for nothing: desired_lrps and tasks are both absent or empty"),
        ("tasks: {a: b}", "tasks: expected a list"),
        ("tasks: [a]", "tasks[0]: expected an object, got a text"),
        ("tasks: [{task_guid: 2020-01-01}]", "tasks[0].task_guid: expected a text, got date"),
        ("? [a, b]\n: c", "line 1, column 3: a key is no text"),
        ("!!python/object:os.system {}", "line 1, column 1: could not determine a constructor for the tag"),
    ],
)
def test_a_file_of_another_shape_is_told(text: str, fault: str) -> None:
    assert faults(text)[0].startswith(fault)
