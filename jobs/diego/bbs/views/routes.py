"""How a route is made of a message class and a use-case."""

from collections.abc import Callable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message

from diego.bbs.commits import UNAVAILABLE
from diego.bbs.core.repair import UndecodableError, repair
from diego.bbs.wire_answers import error_answer
from diego.models import BbsError
from diego.runtime.api import Answer, Api, Call

M = TypeVar("M", bound=Message)
Gate = Callable[[], bool]


class Routes:
    """Registers use-cases as routes."""

    def __init__(self, api: Api, gate: Gate) -> None:
        self.api = api
        self._gate = gate

    def add(self, path: str, asked: type[M], use: Callable[[M], Answer]) -> None:
        """A route whose use-case needs only the message."""
        self.add_traced(path, asked, lambda message, _request_id: use(message))

    def add_traced(self, path: str, asked: type[M], use: Callable[[M, str], Answer]) -> None:
        """A route whose use-case also wants the caller's name for the request."""
        self.add_answering(path, asked, use, error_answer)

    def add_answering(
        self,
        path: str,
        asked: type[M],
        use: Callable[[M, str], Answer],
        refused: Callable[[BbsError], bytes],
    ) -> None:
        """A route that tells of errors in its own way."""
        gate = self._gate

        def call(call: Call) -> Answer:
            if not gate():
                return UNAVAILABLE
            try:
                return use(parsed(asked, call.body), call.request_id)
            except BbsError as error:
                return refused(error)

        self.api.rpc(path)(call)

    def add_bare(self, path: str, use: Callable[[], Answer]) -> None:
        """A route that never looks at the body."""
        gate = self._gate

        def call(_call: Call) -> Answer:
            if not gate():
                return UNAVAILABLE
            try:
                return use()
            except BbsError as error:
                return error_answer(error)

        self.api.rpc(path)(call)

    def add_stream(self, path: str, method: str, use: Callable[[bytes], Answer]) -> None:
        """A route that answers with a stream of events."""
        gate = self._gate

        def call(call: Call) -> Answer:
            return use(call.body) if gate() else UNAVAILABLE

        self.api.rpc(path, method=method)(call)


def parsed(asked: type[M], body: bytes) -> M:
    """The message of a request; texts that are not UTF-8 are repaired.

    Raises:
        BbsError: the body is no message.
    """
    try:
        return asked.FromString(body)
    except DecodeError:
        pass
    try:
        return asked.FromString(repair(asked.DESCRIPTOR, body))
    except (DecodeError, UndecodableError) as error:
        raise BbsError.invalid_request() from error
