"""Empties this cell, for whoever is about to stop it: the rep's drain script.

    python -m diego.rep.drain [--config FILE] [--no-wait] ACTION [HASH [PACKAGE...]]

The protocol is contract/deployment.md section 4: the only thing on standard output is a number of seconds, negative
when the script is to be called again with the action `job_check_status` after that pause. Everything else goes to
standard error. It returns when the cell is empty, and says 0; with `--no-wait`, and when it is called again, it only
looks and says how it stands. The status is 1 when the cell cannot be emptied.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diego.rep.config import RepConfig
from diego.rep.core.drain import PAUSE, Look, Program, Step, next_step, told
from diego.rep.evacuation import EvacuationFile
from diego.runtime import config as configuration
from diego.runtime import logs
from diego.runtime.config import split_address
from diego.runtime.http import ConnectionFailed, HttpClient
from diego.runtime.supervisor import SOCKET, State, Supervisor, SupervisorError
from diego.runtime.tls import TlsError, client_context

CONFIG = Path("/var/vcap/jobs/rep/config/rep.json")
ACTIONS = ("job_changed", "job_new", "job_shutdown", "job_check_status")
TIMEOUT = 10.0
PROGRAM = "rep"
HERE = "127.0.0.1"


class Refused(Exception):
    """The rep could not be asked to empty its cell."""


class Rep:
    """The rep of this host as a drain sees it."""

    def __init__(self, config: RepConfig, supervisor: Supervisor) -> None:
        """Raises TlsError."""
        tls = client_context(config.cert_file, config.key_file, config.ca_cert_file)
        admin, api = (
            split_address(address)[1] for address in (config.listen_addr, config.listen_addr_securable)
        )
        self._admin = HttpClient(f"https://{HERE}:{admin}", tls=tls, timeout=TIMEOUT)
        self._api = HttpClient(f"https://{HERE}:{api}", tls=tls, timeout=TIMEOUT)
        self._supervisor = supervisor
        self._file = EvacuationFile(config.store_path)

    def look(self) -> Look:
        answers = self._answers()
        progress = self.progress() if answers else None
        return Look(
            answers=answers,
            program=self._program(),
            evacuating=None if progress is None else bool(progress["evacuating"]),
            remembered=self._file.load(),
        )

    def progress(self) -> dict[str, Any] | None:
        """How far the evacuation is; None when the rep does not say."""
        try:
            answer = self._api.request("GET", "/v1/evacuation")
            found = json.loads(answer.body) if answer.status == 200 else None
        except (ConnectionFailed, ValueError):
            return None
        return found if isinstance(found, dict) else None

    def ask(self) -> None:
        """Have the cell emptied. Raises Refused."""
        try:
            status = self._admin.request("POST", "/evacuate").status
        except ConnectionFailed as error:
            raise Refused(str(error)) from error
        if status != 202:
            raise Refused(f"the rep answers {status} to /evacuate")

    def _answers(self) -> bool:
        """Whether the admin listener is there. One that takes too long is."""
        try:
            self._admin.request("GET", "/ping")
        except ConnectionFailed as error:
            return error.sent
        return True

    def _program(self) -> Program:
        try:
            program = self._supervisor.program(PROGRAM)
        except SupervisorError:
            return Program.UNKNOWN
        # One that ended with another status is about to be started again.
        ended = program.state is State.EXITED and program.exit_status == 0
        gone = ended or program.state in {State.STOPPED, State.FATAL}
        return Program.LET_GO if gone else Program.KEPT_UP


@dataclass(slots=True)
class Drain:
    """One call of the script. `say` writes a line for people."""

    rep: Rep
    asked: bool
    say: Callable[[str], None]
    pause: Callable[[float], None] = time.sleep
    began: float = field(default_factory=time.monotonic)

    def once(self) -> int:
        """Look, and do what is to be done: the number that the protocol wants.

        Raises:
            Refused: the cell cannot be emptied.
        """
        look = self.rep.look()
        following = next_step(look, asked=self.asked, waited=time.monotonic() - self.began)
        if following.why:
            self.say(following.why)
        match following.step:
            case Step.FAILED:
                raise Refused(following.why)
            case Step.DONE:
                return 0
            case Step.ASK:
                self.rep.ask()
                self.asked = True
        if look.answers and (progress := self.rep.progress()) is not None:
            self.say(told(progress))
        return -PAUSE

    def whole(self) -> int:
        """Look until it is done. Raises Refused."""
        while (seconds := self.once()) < 0:
            self.pause(-seconds)
        return seconds


def main(words: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="drain", description="Empty this cell, then say 0.")
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--supervisor", type=Path, default=SOCKET, help="supervisor's socket")
    parser.add_argument(
        "--no-wait", action="store_true", help="ask, and say a negative number instead of waiting"
    )
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "more", nargs="*", help="how the configuration changes, and which packages: not looked at"
    )
    asked = parser.parse_args(words)
    logs.configure(level="fatal", descriptor=2)
    try:
        config = configuration.load(RepConfig, asked.config)
        rep = Rep(config, Supervisor(asked.supervisor))
    except (configuration.ConfigError, TlsError) as error:
        _say(str(error))
        return 1
    again = asked.action == "job_check_status"
    drain = Drain(rep, again, lambda text: _say(f"{config.cell_id}: {text}"))
    try:
        seconds = drain.once() if again or asked.no_wait else drain.whole()
    except Refused as error:
        _say(f"{config.cell_id}: the drain failed: {error}")
        return 1
    sys.stdout.write(f"{seconds}\n")
    return 0


def _say(text: str) -> None:
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    sys.stderr.write(f"{now} {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
