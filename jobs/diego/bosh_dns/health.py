"""Who is well: this host by its supervisor and healthchecker, the others by what they say."""

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from diego.bosh_dns.core.names import RUNNING, host_state
from diego.runtime.http import ConnectionFailed, HttpClient
from diego.runtime.logs import Logger
from diego.runtime.supervisor import Supervisor, SupervisorError

ASKING = 16
"""Hosts that are asked at the same time."""


class LocalHealth:
    """The state of this host, as it was found last."""

    def __init__(
        self, supervisor: Supervisor, healthchecker: HttpClient, ignored: Sequence[str], log: Logger
    ) -> None:
        self.state = "starting"
        self._supervisor = supervisor
        self._healthchecker = healthchecker
        self._ignored = frozenset(ignored)
        self._log = log

    def look(self) -> str:
        """Find the state anew."""
        try:
            programs = {
                program.name: program.state.value
                for program in self._supervisor.programs()
                if program.name not in self._ignored
            }
        except SupervisorError as error:
            state = "unknown"
            self._log.debug("supervisor-away", error=str(error))
        else:
            state = host_state(programs, self._checked())
        if state != self.state:
            self._log.info("host-state", state=state, before=self.state)
        self.state = state
        return state

    def _checked(self) -> str | None:
        try:
            answer = self._healthchecker.request("GET", "/")
            return str(json.loads(answer.body)["state"]) if answer.status == 200 else None
        except (ConnectionFailed, ValueError, KeyError, TypeError):
            return None


class RemoteHealth:
    """Whether the other hosts are well, as they said last. A host that does not answer is not."""

    def __init__(self, clients: dict[str, HttpClient], log: Logger) -> None:
        self.known: dict[str, bool] = {}
        self._clients = clients
        self._log = log
        self._lock = threading.Lock()

    def ask(self) -> None:
        """Ask all of them, some at a time."""
        if not self._clients:
            return
        with ThreadPoolExecutor(min(ASKING, len(self._clients)), "asking") as pool:
            for address, (is_well, why) in zip(
                self._clients, pool.map(_ask, self._clients.values()), strict=True
            ):
                self._note(address, why, is_well=is_well)

    def _note(self, address: str, why: str, *, is_well: bool) -> None:
        with self._lock:
            if self.known.get(address) is not is_well:
                self._log.info("remote-host", address=address, well=is_well, state=why)
            self.known[address] = is_well


def _ask(client: HttpClient) -> tuple[bool, str]:
    try:
        answer = client.request("GET", "/health")
        state = str(json.loads(answer.body)["state"])
    except ConnectionFailed as error:
        return False, str(error)
    except (ValueError, KeyError, TypeError) as error:
        return False, f"not an answer: {error}"
    return answer.status == 200 and state == RUNNING, state
