"""A lab of several hosts (inventory/lab/small.ini), whole before each test and put right after it."""

import json
from collections.abc import Iterator

import pytest

from diego.bbs.client import BbsClient
from support.faults import Faults
from support.lab import Lab
from support.small import SERVER, Desire, until_whole


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.lab)
        item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session", autouse=True)
def several_hosts(lab: Lab) -> None:
    if len(lab.groups["diego-api"]) < 2 or len(lab.groups["diego-cell"]) < 2:
        pytest.fail(f"the lab {lab.name} has one host of each group: these tests need TOPOLOGY=small")


@pytest.fixture(scope="session")
def whole(lab: Lab) -> Faults:
    """A look at a lab that is whole, for tests that only look."""
    found = Faults(lab)
    until_whole(lab, found)
    return found


@pytest.fixture
def faults(lab: Lab) -> Iterator[Faults]:
    """Faults of a lab that is whole; what is left of them is undone afterwards."""
    found = Faults(lab)
    until_whole(lab, found)
    try:
        yield found
    finally:
        found.undo()


@pytest.fixture
def bbs(lab: Lab) -> Iterator[BbsClient]:
    """A client like a cell's, that gives up a try after a second."""
    env = lab.env
    with BbsClient(
        env["BBS_URL"],
        ca_file=env["CA_CERT_FILE"],
        cert_file=env["CLIENT_CERT_FILE"],
        key_file=env["CLIENT_KEY_FILE"],
        timeout=1.0,
        attempts=1,
    ) as client:
        yield client


@pytest.fixture
def app(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Desire]:
    """Desire an app of the test's own; it is removed afterwards."""
    made: list[str] = []

    def desire(instances_: int = 1, **changes: object) -> str:
        guid = f"{request.node.name.removeprefix('test_').replace('_', '-')[:36]}-{len(made)}"
        made.append(guid)
        host = f"{guid}.{lab.env['APPS_DOMAIN']}"
        lrp = {
            "process_guid": guid,
            "domain": "tests",
            "rootfs": "preloaded:cflinuxfs4",
            "instances": instances_,
            "memory_mb": 64,
            "disk_mb": 128,
            "ports": [8080],
            "routes": {"cf-router": [{"hostnames": [host], "port": 8080}]},
            "log_guid": guid,
            "metric_tags": {"source_id": {"static": guid}},
            "action": {"run": {"path": "/usr/bin/python3", "args": ["-c", SERVER], "user": "vcap"}},
            "check_definition": {"checks": [{"tcp_check": {"port": 8080}}]},
            **changes,
        }
        asked = lab.diego("create-desired-lrp", json.dumps(lrp))
        assert asked.returncode == 0, asked.stdout + asked.stderr
        return guid

    yield desire
    for guid in made:
        lab.diego("delete-desired-lrp", guid)
