"""Bad input on the deployed APIs: a clear answer in the contract's form, nothing lost, nothing restarted."""

import http.client
import ssl
from urllib.parse import urlsplit

import pytest

from diego.wire.actual_lrp_requests_pb2 import ActualLRPsResponse
from diego.wire.desired_lrp_requests_pb2 import DesiredLRPLifecycleResponse
from diego.wire.error_pb2 import Error
from diego.wire.task_requests_pb2 import TaskLifecycleResponse
from support.observe import Answering, processes

pytestmark = pytest.mark.lab

JUNK = b"\xff\xff\xff\xffno protobuf"


def bbs(
    lab: Answering, method: str, path: str, body: bytes, *, certificate: bool = True
) -> tuple[int, bytes]:
    context = ssl.create_default_context(cafile=lab.env["CA_CERT_FILE"])
    if certificate:
        context.load_cert_chain(lab.env["CLIENT_CERT_FILE"], lab.env["CLIENT_KEY_FILE"])
    url = urlsplit(lab.env["BBS_URL"])
    connection = http.client.HTTPSConnection(str(url.hostname), url.port, timeout=10, context=context)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_an_undecodable_body_is_an_invalid_request(lab: Answering) -> None:
    status, body = bbs(lab, "POST", "/v1/desired_lrp/desire.r2", JUNK)

    assert status == 200
    error = DesiredLRPLifecycleResponse.FromString(body).error
    assert (error.type, error.message) == (Error.InvalidRequest, "the request received is invalid")


def test_an_empty_desire_names_what_is_missing(lab: Answering) -> None:
    status, body = bbs(lab, "POST", "/v1/tasks/desire.r2", b"")

    assert status == 200
    error = TaskLifecycleResponse.FromString(body).error
    assert error.type == Error.InvalidRequest
    assert error.message.startswith("Invalid field: task_guid, Invalid field: domain")


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("POST", "/v1/nowhere", 404, b"404 page not found\n"),
        ("GET", "/v1/domains/list", 405, b"Method Not Allowed\n"),
    ],
)
def test_unknown_paths_and_wrong_methods_are_told_apart(
    lab: Answering, method: str, path: str, status: int, text: bytes
) -> None:
    assert bbs(lab, method, path, b"") == (status, text)


def test_a_caller_without_a_certificate_is_turned_away(lab: Answering) -> None:
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        bbs(lab, "POST", "/v1/ping", b"", certificate=False)


def test_bad_input_restarts_nothing_and_loses_nothing(lab: Answering) -> None:
    before = processes(lab, "diego-job bbs")
    rows = len(ActualLRPsResponse.FromString(bbs(lab, "POST", "/v1/actual_lrps/list", b"")[1]).actual_lrps)

    for size in (0, 1, 10, 1000, 100_000):
        for path in ("desired_lrp/desire.r2", "actual_lrps/claim", "tasks/complete", "actual_lrps/start.r1"):
            assert bbs(lab, "POST", f"/v1/{path}", b"\x0a" + bytes(size) + JUNK)[0] == 200

    assert processes(lab, "diego-job bbs") == before
    after = len(ActualLRPsResponse.FromString(bbs(lab, "POST", "/v1/actual_lrps/list", b"")[1]).actual_lrps)
    assert after == rows
