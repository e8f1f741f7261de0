"""Answers as bytes, for what every response has in common (contract/bbs-api.md section 4)."""

from diego.models import BbsError
from diego.wire import error_pb2, evacuation_pb2, task_requests_pb2


def error_answer(error: BbsError) -> bytes:
    """A response of any kind that tells of an error: it is field 1 of all of them."""
    encoded = _error(error).SerializeToString()
    return evacuation_pb2.RemoveEvacuatingActualLRPResponse(
        error=error_pb2.Error.FromString(encoded)
    ).SerializeToString()


def evacuation_answer(*, keep_container: bool, error: BbsError | None = None) -> bytes:
    """An EvacuationResponse."""
    response = evacuation_pb2.EvacuationResponse(keep_container=keep_container)
    if error is not None:
        response.error.CopyFrom(_error(error))
    return response.SerializeToString()


def start_task_answer(*, should_start: bool) -> bytes:
    """A StartTaskResponse."""
    return task_requests_pb2.StartTaskResponse(should_start=should_start).SerializeToString()


def _error(error: BbsError) -> error_pb2.Error:
    told = error_pb2.Error(message=error.message.encode("utf-8", "replace").decode())
    told.type = error_pb2.Error.Type.ValueType(int(error.type))
    return told
