"""Locket answers as the original did: every recorded exchange, replayed in order over mutual TLS."""

import base64
import json
import time
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from google.protobuf import json_format

from diego.wire import locket_pb2
from support import locket as locket_process
from support.mariadb import Database

pytestmark = [pytest.mark.database, pytest.mark.timeout(240)]

RECORDED = json.loads((Path(__file__).parent / "data" / "locket.json").read_text())
EXCHANGES = 45
PATIENCE = 60.0
GONE = "fetch after ttl 2 ran out (waited 4 s)"
"""The recording waited before it."""

LONGER = {5: 300}
"""Times to live in seconds, as recorded and as asked for here: no row goes but the one that is waited for."""


def test_every_recorded_exchange_is_answered_as_the_original_answered_it(
    database: Database, pki: Path, tmp_path: Path
) -> None:
    answered = 0
    began = time.monotonic()
    with locket_process.running(tmp_path, database, pki) as locket:
        with locket_process.channel(locket.address, pki) as channel:
            for exchange in RECORDED:
                status, text, body = call(channel, exchange)
                while exchange["name"] == GONE and status == 0 and time.monotonic() < began + PATIENCE:
                    time.sleep(0.1)
                    status, text, body = call(channel, exchange)

                assert (status, text) == (exchange["grpc_status"], exchange["grpc_message"]), exchange["name"]
                assert decoded(exchange, body) == expected(exchange), exchange["name"]
                answered += 1

    assert answered == len(RECORDED) == EXCHANGES


def call(channel: grpc.Channel, exchange: dict[str, Any]) -> tuple[int, str, bytes | None]:
    method = channel.unary_unary(exchange["path"], request_serializer=None, response_deserializer=None)
    metadata = tuple((key, value) for key, value in exchange["headers"] if key == "uuid")
    try:
        body: bytes = method(asked(exchange), timeout=60, metadata=metadata, wait_for_ready=True)
    except grpc.RpcError as error:
        call = cast("grpc.Call", error)
        return call.code().value[0], call.details() or "", None
    return 0, "", body


def asked(exchange: dict[str, Any]) -> bytes:
    """The request as it was recorded, but for a time to live that the busiest machine might exceed."""
    encoded = base64.b64decode(exchange["request_b64"])
    if exchange["request_type"] == "LockRequest" and exchange["request_json"]:
        request = locket_pb2.LockRequest.FromString(encoded)
        if request.ttl_in_seconds in LONGER:
            request.ttl_in_seconds = LONGER[request.ttl_in_seconds]
            return request.SerializeToString()
    return encoded


def decoded(exchange: dict[str, Any], body: bytes | None) -> Any:
    if body is None:
        return None
    message = getattr(locket_pb2, exchange["response_type"]).FromString(body)
    return in_order(json_format.MessageToDict(message, preserving_proto_field_name=True))


def expected(exchange: dict[str, Any]) -> Any:
    return in_order(exchange["response_json"])


def in_order(answer: Any) -> Any:
    """Lists come in the database's order."""
    if answer and "resources" in answer:
        return {"resources": sorted(answer["resources"], key=lambda resource: resource.get("key", ""))}
    return answer
