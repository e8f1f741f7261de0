"""The HTTP side: every route there, in both forms, and nothing that a client sends does harm."""

import json
import random
from pathlib import Path

import pytest

from diego.bbs.core.repair import UndecodableError, repair
from diego.bbs.views import bbs_api
from diego.models import ErrorType
from diego.runtime.api import Api, Bulk, Call, Pending, Reply, Subscribe
from diego.wire import actual_lrp_requests_pb2, domain_pb2, evacuation_pb2, task_pb2, task_requests_pb2
from support.active_bbs import ActiveBbs
from support.golden import message_class
from support.records import a_definition, a_desired_message, a_start_request, an_instance_key, an_lrp_key

MESSAGES = next(Path(__file__).parents[2].rglob("messages.json"))
ROUTES = [route for route in json.loads(MESSAGES.read_text())["routes"] if route["path"].startswith("/v1/")]
CALLS = [route for route in ROUTES if route["response"] != "SSE"]
NOT_UTF8 = b"\xff\xfe"


def send(bbs: ActiveBbs, api: Api, path: str, body: bytes, method: str = "POST") -> bytes | Reply | Subscribe:
    handler = api.calls[method.encode(), path.encode()].handler
    answer = bbs.answer(lambda: handler(Call(body)))
    if isinstance(answer, Bulk):
        return b"".join(answer.chunks)
    assert not isinstance(answer, Pending)
    return answer


def error_of(answer: bytes | Reply | Subscribe) -> ErrorType:
    assert isinstance(answer, bytes)
    response = evacuation_pb2.RemoveEvacuatingActualLRPResponse.FromString(answer)
    assert response.HasField("error")
    return ErrorType(response.error.type)


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route["path"])
def test_every_route_is_a_direct_call_and_a_view(api: Api, route: dict[str, str]) -> None:
    assert (route["method"].encode(), route["path"].encode()) in api.calls
    rules = {rule.rule: rule.methods for rule in api.app.url_map.iter_rules()}
    assert route["method"] in (rules[route["path"]] or set())


def test_no_route_is_there_that_the_contract_does_not_have(api: Api) -> None:
    assert {path.decode() for _, path in api.calls} == {route["path"] for route in ROUTES}


def test_the_views_answer_under_flask_as_well(api: Api) -> None:
    answer = api.app.test_client().post("/v1/domains/list")

    assert (answer.status_code, answer.content_type) == (200, "application/x-protobuf")
    assert domain_pb2.DomainsResponse.FromString(answer.data) == domain_pb2.DomainsResponse()


@pytest.mark.parametrize("path", ["/v1/nope", "/v1/ping/", "/v1/desired_lrps/list"])
def test_another_path_is_not_found(api: Api, path: str) -> None:
    answer = api.app.test_client().post(path)

    assert (answer.status_code, answer.text) == (404, "404 page not found\n")


@pytest.mark.parametrize(
    "route", [route for route in CALLS if route["request"]], ids=lambda route: route["path"]
)
def test_a_body_that_is_no_message_is_an_invalid_request(
    bbs: ActiveBbs, api: Api, route: dict[str, str]
) -> None:
    for body in (b"\x0f", b"\x0a\xff", b"\x0a\x05abc", b"\xff" * 40):
        assert error_of(send(bbs, api, route["path"], body)) is ErrorType.INVALID_REQUEST


def test_a_body_that_is_no_message_is_told_so(bbs: ActiveBbs, api: Api) -> None:
    answer = send(bbs, api, "/v1/actual_lrps/claim", b"\x0f")

    assert isinstance(answer, bytes)
    error = evacuation_pb2.RemoveEvacuatingActualLRPResponse.FromString(answer).error
    assert (ErrorType(error.type), error.message) == (
        ErrorType.INVALID_REQUEST,
        "the request received is invalid",
    )


def test_a_passive_bbs_answers_503_everywhere(bbs: ActiveBbs) -> None:
    closed = bbs_api(bbs.service, bbs.service.context.announcer, lambda: False)

    for route in ROUTES:
        answer = send(bbs, closed, route["path"], b"", route["method"])
        assert isinstance(answer, Reply)
        assert (answer.status, answer.body, answer.content_type.split(";")[0]) == (503, b"", "text/plain")


def test_output_that_is_not_utf8_is_kept_as_far_as_text_can_hold_it(bbs: ActiveBbs, api: Api) -> None:
    bbs.ask(
        lambda: bbs.service.tasks.desire(
            task_requests_pb2.DesireTaskRequest(
                task_guid="binary", domain="domain", task_definition=a_definition()
            )
        )
    )
    bbs.ask(
        lambda: bbs.service.tasks.start(
            task_requests_pb2.StartTaskRequest(task_guid="binary", cell_id="cell")
        )
    )
    complete = task_requests_pb2.CompleteTaskRequest(task_guid="binary", cell_id="cell").SerializeToString()

    answer = send(bbs, api, "/v1/tasks/complete", complete + b"\x2a\x04a" + NOT_UTF8 + b"b")

    assert answer == b""
    task = bbs.call(lambda: bbs.memory.newest_task("binary"))
    assert task is not None
    assert task.result == "a��b"


def test_repair_changes_only_texts() -> None:
    request = a_start_request()
    encoded = request.SerializeToString()

    assert repair(request.DESCRIPTOR, encoded) == encoded


def test_repair_follows_messages_and_maps() -> None:
    key = b"\x0a\x02" + NOT_UTF8
    broken = b"\x0a" + bytes([len(key)]) + key

    repaired = actual_lrp_requests_pb2.StartActualLRPRequest.FromString(
        repair(actual_lrp_requests_pb2.StartActualLRPRequest.DESCRIPTOR, broken)
    )

    assert repaired.actual_lrp_key.process_guid == "��"


def test_repair_gives_up_on_what_is_no_message() -> None:
    for body in (b"\x0a\x7f", b"\x0b", b"\x80" * 20, b"\x0f"):
        with pytest.raises(UndecodableError):
            repair(task_pb2.Task.DESCRIPTOR, body)


def mutated(seed: int, body: bytes) -> bytes:
    """A message with some bytes changed, cut, repeated or put in."""
    chance = random.Random(seed)
    out = bytearray(body)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(out) + 1)
        match chance.randrange(4):
            case 0 if out:
                out[place % len(out)] = chance.randrange(256)
            case 1:
                del out[place:]
            case 2:
                out[place:place] = chance.randbytes(chance.randint(1, 8))
            case _:
                out += out[:place]
    return bytes(out)


def test_ten_thousand_malformed_requests_do_no_harm(bbs: ActiveBbs, api: Api) -> None:
    """Each is answered in the contract's form: no exception reaches the server."""
    bodies = {
        "DesireLRPRequest": message_class("DesireLRPRequest")(desired_lrp=a_desired_message("fuzz")),
        "DesireTaskRequest": task_requests_pb2.DesireTaskRequest(
            task_guid="fuzz", domain="domain", task_definition=a_definition()
        ),
        "StartActualLRPRequest": a_start_request(),
        "CrashActualLRPRequest": actual_lrp_requests_pb2.CrashActualLRPRequest(
            actual_lrp_key=an_lrp_key(), actual_lrp_instance_key=an_instance_key(), error_message="x"
        ),
    }
    routes = [route for route in CALLS if route["request"] and "cells" not in route["path"]]
    for number in range(10_000):
        route = routes[number % len(routes)]
        template = bodies.get(route["request"])
        body = template.SerializeToString() if template is not None else b"\x0a\x04fuzz\x12\x02\x0a\x00"

        answer = send(bbs, api, route["path"], mutated(number, body))

        assert isinstance(answer, bytes), (route["path"], number)
        message_class(route["response"]).FromString(answer)
