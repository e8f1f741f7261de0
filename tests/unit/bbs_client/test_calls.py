"""How the client judges answers, when it asks again, and what it puts on the wire: contract/bbs-api.md section 1."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from google.protobuf.message import Message

from diego.bbs.client import (
    BbsClient,
    EndpointNotFound,
    EvacuationRefused,
    Unreachable,
)
from diego.models.errors import BbsError, ErrorType
from diego.wire import (
    actual_lrp_pb2,
    actual_lrp_requests_pb2,
    cells_pb2,
    desired_lrp_pb2,
    desired_lrp_requests_pb2,
    domain_pb2,
    error_pb2,
    evacuation_pb2,
    ping_pb2,
    task_pb2,
    task_requests_pb2,
)
from support import pki
from support.scripted_server import ScriptedServer, Told, serving

LIFECYCLE = actual_lrp_requests_pb2.ActualLRPLifecycleResponse
KEY = actual_lrp_pb2.ActualLRPKey(process_guid="web", index=1, domain="d")
INSTANCE = actual_lrp_pb2.ActualLRPInstanceKey(instance_guid="i", cell_id="c")


def a_client(url: str, certificates: Path, *, attempts: int = 3) -> BbsClient:
    return BbsClient(
        url,
        ca_file=certificates / "service_cf_internal_ca.crt",
        cert_file=certificates / "diego_bbs_client.crt",
        key_file=certificates / "diego_bbs_client.key",
        timeout=5,
        attempts=attempts,
        pause=0.01,
    )


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pki.write(tmp_path_factory.mktemp("pki"), "diego_bbs_server", "diego_bbs_client")


@pytest.fixture
def server(certificates: Path) -> Iterator[ScriptedServer]:
    with serving(certificates) as scripted:
        yield scripted


@pytest.fixture
def bbs(server: ScriptedServer, certificates: Path) -> Iterator[BbsClient]:
    with a_client(server.url, certificates) as client:
        yield client


def refusal(number: int, text: str) -> bytes:
    return LIFECYCLE(error=error_pb2.Error(type=number, message=text)).SerializeToString()  # type: ignore[arg-type]


def test_a_call_posts_protobuf_and_returns_what_the_answer_holds(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    answer = domain_pb2.DomainsResponse(domains=["a", "b"])
    server.tell("/v1/domains/list", Told(answer.SerializeToString()))

    assert bbs.domains(request_id="r-1") == ["a", "b"]

    asked = server.asked[0]
    assert (asked.method, asked.headers["Content-Type"]) == ("POST", "application/x-protobuf")
    assert asked.headers["X-Vcap-Request-Id"] == "r-1"
    assert asked.headers["Content-Length"] == "0"


def test_without_a_request_id_none_is_sent(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell("/v1/ping", Told(ping_pb2.PingResponse(available=True).SerializeToString()))

    assert bbs.ping() is True

    assert "X-Vcap-Request-Id" not in server.asked[0].headers


def test_an_error_in_an_answer_is_raised_and_not_retried(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell("/v1/actual_lrps/retire", Told(refusal(13, "the requested resource could not be found")))

    with pytest.raises(BbsError) as raised:
        bbs.retire_actual_lrp(KEY)

    assert raised.value.type is ErrorType.RESOURCE_NOT_FOUND
    assert raised.value.message == "the requested resource could not be found"
    assert len(server.asked) == 1


def test_an_error_of_type_zero_is_an_error(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell("/v1/actual_lrps/retire", Told(refusal(0, "sql-unknown")))

    with pytest.raises(BbsError, match="sql-unknown") as raised:
        bbs.retire_actual_lrp(KEY)

    assert raised.value.type is ErrorType.UNKNOWN_ERROR


def test_an_error_number_of_a_later_release_is_an_unknown_error(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    server.tell("/v1/actual_lrps/retire", Told(refusal(99, "new")))

    with pytest.raises(BbsError, match="new") as raised:
        bbs.retire_actual_lrp(KEY)

    assert raised.value.type is ErrorType.UNKNOWN_ERROR


def test_a_router_error_counts_whatever_else_the_answer_is(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell("/v1/ping", Told(b"", headers={"X-Cf-Routererror": "unknown_route"}))

    with pytest.raises(BbsError, match="unknown_route") as raised:
        bbs.ping()

    assert raised.value.type is ErrorType.ROUTER_ERROR
    assert len(server.asked) == 3


def test_the_status_of_a_protobuf_answer_is_ignored(bbs: BbsClient, server: ScriptedServer) -> None:
    body = ping_pb2.PingResponse(available=True).SerializeToString()
    server.tell("/v1/ping", Told(body, 503, "application/x-protobuf; charset=utf-8"))

    assert bbs.ping() is True


def test_another_status_above_299_is_an_invalid_response_after_three_attempts(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    server.tell("/v1/ping", Told(b"", 503, "text/plain"))

    with pytest.raises(BbsError, match="Invalid Response with status code: 503") as raised:
        bbs.ping()

    assert raised.value.type is ErrorType.INVALID_RESPONSE
    assert len(server.asked) == 3


def test_a_good_status_without_protobuf_is_success_with_nothing_decoded(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    server.tell("/v1/domains/list", Told(b"hello", 200, "text/plain"))

    assert bbs.domains() == []


def test_an_undecodable_answer_is_asked_for_again(bbs: BbsClient, server: ScriptedServer) -> None:
    good = domain_pb2.DomainsResponse(domains=["a"]).SerializeToString()
    server.tell("/v1/domains/list", Told(b"\xff\xff\xff"), Told(good))

    assert bbs.domains() == ["a"]
    assert len(server.asked) == 2


def test_an_answer_that_stays_undecodable_is_an_invalid_protobuf_message(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    server.tell("/v1/domains/list", Told(b"\xff\xff\xff"))

    with pytest.raises(BbsError) as raised:
        bbs.domains()

    assert raised.value.type is ErrorType.INVALID_PROTOBUF_MESSAGE


def test_a_connection_that_breaks_is_tried_again(bbs: BbsClient, server: ScriptedServer) -> None:
    good = domain_pb2.DomainsResponse(domains=["a"]).SerializeToString()
    server.tell("/v1/domains/list", Told(status=0), Told(status=0), Told(good))

    assert bbs.domains() == ["a"]
    assert len(server.asked) == 3


def test_a_server_that_is_not_there_is_unreachable(certificates: Path) -> None:
    with serving(certificates) as gone:
        url = gone.url

    with a_client(url, certificates) as bbs, pytest.raises(Unreachable, match="localhost"):
        bbs.ping()


def test_an_unknown_endpoint_is_told_at_once(bbs: BbsClient, server: ScriptedServer) -> None:
    with pytest.raises(EndpointNotFound):
        bbs.cells()

    assert len(server.asked) == 1


def test_an_older_server_is_asked_in_the_older_way(bbs: BbsClient, server: ScriptedServer) -> None:
    lrp = desired_lrp_pb2.DesiredLRP(process_guid="web")
    infos = desired_lrp_requests_pb2.DesiredLRPsResponse(desired_lrps=[lrp]).SerializeToString()
    kept = evacuation_pb2.EvacuationResponse(keep_container=True).SerializeToString()
    server.tell("/v1/actual_lrps/start", Told(LIFECYCLE().SerializeToString()))
    server.tell("/v1/actual_lrps/evacuate_running", Told(kept))
    server.tell("/v1/desired_lrps/list.r3", Told(infos))

    bbs.start_actual_lrp(actual_lrp_requests_pb2.StartActualLRPRequest(actual_lrp_key=KEY))
    assert bbs.evacuate_running_actual_lrp(evacuation_pb2.EvacuateRunningActualLRPRequest()) is True
    assert bbs.desired_lrp_routing_infos(["web"]) == [lrp]

    assert server.paths() == [
        "/v1/actual_lrps/start.r1",
        "/v1/actual_lrps/start",
        "/v1/actual_lrps/evacuate_running.r1",
        "/v1/actual_lrps/evacuate_running",
        "/v1/desired_lrp_routing_infos/list",
        "/v1/desired_lrps/list.r3",
    ]


def test_a_refused_evacuation_still_says_what_becomes_of_the_container(
    bbs: BbsClient, server: ScriptedServer
) -> None:
    answer = evacuation_pb2.EvacuationResponse(
        error=error_pb2.Error(type=error_pb2.Error.InvalidRequest, message="no"), keep_container=True
    )
    server.tell("/v1/actual_lrps/evacuate_claimed", Told(answer.SerializeToString()))

    with pytest.raises(EvacuationRefused) as raised:
        bbs.evacuate_claimed_actual_lrp(KEY, INSTANCE)

    assert raised.value.keep_container is True
    assert raised.value.type is ErrorType.INVALID_REQUEST


def test_index_zero_is_a_filter_and_none_is_none(bbs: BbsClient, server: ScriptedServer) -> None:
    answer = actual_lrp_requests_pb2.ActualLRPsResponse().SerializeToString()
    server.tell("/v1/actual_lrps/list", Told(answer))

    bbs.actual_lrps(process_guid="web", index=0)
    bbs.actual_lrps(process_guid="web")

    decode = actual_lrp_requests_pb2.ActualLRPsRequest.FromString
    first, second = (decode(each.body) for each in server.asked)
    assert first.HasField("index")
    assert not second.HasField("index")


def test_starting_a_task_says_whether_this_call_may_run_it(bbs: BbsClient, server: ScriptedServer) -> None:
    answer = task_requests_pb2.StartTaskResponse(should_start=True).SerializeToString()
    server.tell("/v1/tasks/start", Told(answer))

    assert bbs.start_task("t", "cell-1") is True

    request = task_requests_pb2.StartTaskRequest.FromString(server.asked[0].body)
    assert (request.task_guid, request.cell_id) == ("t", "cell-1")


def test_each_call_goes_to_its_route_with_its_request(bbs: BbsClient, server: ScriptedServer) -> None:
    lrp, update = (
        desired_lrp_pb2.DesiredLRP(process_guid="web"),
        desired_lrp_pb2.DesiredLRPUpdate(instances=2),
    )
    definition = task_pb2.TaskDefinition(root_fs="preloaded:x")
    requests = actual_lrp_requests_pb2
    calls: list[tuple[str, Callable[[], object], Message]] = [
        (
            "/v1/domains/upsert",
            lambda: bbs.upsert_domain("d", 9),
            domain_pb2.UpsertDomainRequest(domain="d", ttl=9),
        ),
        (
            "/v1/desired_lrp/desire.r2",
            lambda: bbs.desire_lrp(lrp),
            desired_lrp_requests_pb2.DesireLRPRequest(desired_lrp=lrp),
        ),
        (
            "/v1/desired_lrp/update",
            lambda: bbs.update_desired_lrp("web", update),
            desired_lrp_requests_pb2.UpdateDesiredLRPRequest(process_guid="web", update=update),
        ),
        (
            "/v1/desired_lrp/remove",
            lambda: bbs.remove_desired_lrp("web"),
            desired_lrp_requests_pb2.RemoveDesiredLRPRequest(process_guid="web"),
        ),
        (
            "/v1/desired_lrps/list.r3",
            lambda: bbs.desired_lrps(domain="d", process_guids=["p"], app_guids=["a"]),
            desired_lrp_requests_pb2.DesiredLRPsRequest(domain="d", process_guids=["p"], app_guids=["a"]),
        ),
        (
            "/v1/desired_lrps/get_by_process_guid.r3",
            lambda: bbs.desired_lrp("web"),
            desired_lrp_requests_pb2.DesiredLRPByProcessGuidRequest(process_guid="web"),
        ),
        (
            "/v1/desired_lrp_scheduling_infos/list",
            lambda: bbs.desired_lrp_scheduling_infos(domain="d"),
            desired_lrp_requests_pb2.DesiredLRPsRequest(domain="d"),
        ),
        (
            "/v1/desired_lrp_scheduling_infos/get_by_process_guid",
            lambda: bbs.desired_lrp_scheduling_info("web"),
            desired_lrp_requests_pb2.DesiredLRPByProcessGuidRequest(process_guid="web"),
        ),
        (
            "/v1/actual_lrps/list_by_process_guids",
            lambda: bbs.actual_lrps_by_process_guids(["p"]),
            requests.ActualLRPsByProcessGuidsRequest(process_guids=["p"]),
        ),
        (
            "/v1/actual_lrps/claim",
            lambda: bbs.claim_actual_lrp("web", 1, INSTANCE),
            requests.ClaimActualLRPRequest(process_guid="web", index=1, actual_lrp_instance_key=INSTANCE),
        ),
        (
            "/v1/actual_lrps/crash",
            lambda: bbs.crash_actual_lrp(KEY, INSTANCE, "boom"),
            requests.CrashActualLRPRequest(
                actual_lrp_key=KEY, actual_lrp_instance_key=INSTANCE, error_message="boom"
            ),
        ),
        (
            "/v1/actual_lrps/fail",
            lambda: bbs.fail_actual_lrp(KEY, "full"),
            requests.FailActualLRPRequest(actual_lrp_key=KEY, error_message="full"),
        ),
        (
            "/v1/actual_lrps/remove",
            lambda: bbs.remove_actual_lrp("web", 1),
            requests.RemoveActualLRPRequest(process_guid="web", index=1),
        ),
        (
            "/v1/actual_lrp_groups/list",
            lambda: bbs.actual_lrp_groups(domain="d", cell_id="c"),
            requests.ActualLRPGroupsRequest(domain="d", cell_id="c"),
        ),
        (
            "/v1/actual_lrp_groups/list_by_process_guid",
            lambda: bbs.actual_lrp_groups_by_process_guid("web"),
            requests.ActualLRPGroupsByProcessGuidRequest(process_guid="web"),
        ),
        (
            "/v1/actual_lrp_groups/get_by_process_guid_and_index",
            lambda: bbs.actual_lrp_group("web", 1),
            requests.ActualLRPGroupByProcessGuidAndIndexRequest(process_guid="web", index=1),
        ),
        (
            "/v1/actual_lrps/remove_evacuating",
            lambda: bbs.remove_evacuating_actual_lrp(KEY, INSTANCE),
            evacuation_pb2.RemoveEvacuatingActualLRPRequest(
                actual_lrp_key=KEY, actual_lrp_instance_key=INSTANCE
            ),
        ),
        (
            "/v1/actual_lrps/evacuate_crashed",
            lambda: bbs.evacuate_crashed_actual_lrp(KEY, INSTANCE, "boom"),
            evacuation_pb2.EvacuateCrashedActualLRPRequest(
                actual_lrp_key=KEY, actual_lrp_instance_key=INSTANCE, error_message="boom"
            ),
        ),
        (
            "/v1/actual_lrps/evacuate_stopped",
            lambda: bbs.evacuate_stopped_actual_lrp(KEY, INSTANCE),
            evacuation_pb2.EvacuateStoppedActualLRPRequest(
                actual_lrp_key=KEY, actual_lrp_instance_key=INSTANCE
            ),
        ),
        (
            "/v1/tasks/list.r3",
            lambda: bbs.tasks(domain="d", cell_id="c"),
            task_requests_pb2.TasksRequest(domain="d", cell_id="c"),
        ),
        (
            "/v1/tasks/get_by_task_guid.r3",
            lambda: bbs.task("t"),
            task_requests_pb2.TaskByGuidRequest(task_guid="t"),
        ),
        (
            "/v1/tasks/desire.r2",
            lambda: bbs.desire_task("t", "d", definition),
            task_requests_pb2.DesireTaskRequest(task_guid="t", domain="d", task_definition=definition),
        ),
        ("/v1/tasks/cancel", lambda: bbs.cancel_task("t"), task_requests_pb2.TaskGuidRequest(task_guid="t")),
        (
            "/v1/tasks/reject",
            lambda: bbs.reject_task("t", "full"),
            task_requests_pb2.RejectTaskRequest(task_guid="t", rejection_reason="full"),
        ),
        (
            "/v1/tasks/complete",
            lambda: bbs.complete_task("t", "c", failed=True, failure_reason="f", result="r"),
            task_requests_pb2.CompleteTaskRequest(
                task_guid="t", cell_id="c", failed=True, failure_reason="f", result="r"
            ),
        ),
        (
            "/v1/tasks/resolving",
            lambda: bbs.resolving_task("t"),
            task_requests_pb2.TaskGuidRequest(task_guid="t"),
        ),
        ("/v1/tasks/delete", lambda: bbs.delete_task("t"), task_requests_pb2.TaskGuidRequest(task_guid="t")),
    ]
    for path, call, request in calls:
        server.tell(path, Told())

        call()

        assert server.asked[-1].path == path
        assert type(request).FromString(server.asked[-1].body) == request, path


def test_cells_are_the_presences_of_the_answer(bbs: BbsClient, server: ScriptedServer) -> None:
    presence = cells_pb2.CellPresence(cell_id="cell-1", rep_url="https://cell-1:1801")
    server.tell("/v1/cells/list.r1", Told(cells_pb2.CellsResponse(cells=[presence]).SerializeToString()))

    assert bbs.cells() == [presence]


def test_connections_are_used_again(bbs: BbsClient, server: ScriptedServer) -> None:
    server.tell("/v1/ping", Told(ping_pb2.PingResponse(available=True).SerializeToString()))

    for _ in range(5):
        bbs.ping()

    assert len(server.asked) == 5


def test_a_caller_without_the_deployments_certificate_gets_no_answer(
    server: ScriptedServer, certificates: Path, tmp_path: Path
) -> None:
    stranger = pki.certificate("diego_bbs_client", "stranger_ca")
    (tmp_path / "stranger.crt").write_bytes(stranger.cert_pem)
    (tmp_path / "stranger.key").write_bytes(stranger.key_pem)
    bbs = BbsClient(
        server.url,
        ca_file=certificates / "service_cf_internal_ca.crt",
        cert_file=tmp_path / "stranger.crt",
        key_file=tmp_path / "stranger.key",
        attempts=1,
    )

    with bbs, pytest.raises(Unreachable):
        bbs.ping()
    assert server.asked == []
