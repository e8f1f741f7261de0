"""contract/lifecycle.md section 1: the numbers of a BBS that is told no others."""

from pathlib import Path
from threading import Event
from typing import cast

from diego.bbs.config import BbsConfig
from diego.bbs.core import validation
from diego.bbs.core.convergence import TaskLimits
from diego.models import Domain
from diego.runtime import loops
from diego.runtime.limits import Limits
from diego.runtime.process import Runtime
from support.records import MINUTE, NOW, SECOND

CONFIG = BbsConfig(
    uuid="bbs", ca_file=Path("ca"), cert_file=Path("cert"), key_file=Path("key"),
    database_connection_string="diego:secret@tcp(127.0.0.1:3306)/diego",
    active_key_label="key", encryption_keys={"key": "secret"},
    locket_address="127.0.0.1:8891", locket_ca_cert_file=Path("ca"), locket_client_cert_file=Path("cert"),
    locket_client_key_file=Path("key"), auctioneer_address="https://127.0.0.1:9016",
)  # fmt: skip


class Rounds(Event):
    """Lets a loop go round twice, and remembers how long it would have paused."""

    def __init__(self) -> None:
        super().__init__()
        self.happened: list[object] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.happened.append(timeout)
        return self.happened.count("round") == 2


class Looping:
    """As much of a runtime as a loop needs."""

    def __init__(self) -> None:
        self.stopping = Rounds()

    def background(self, _name: str, run: object) -> None:
        assert callable(run)
        run()


def test_convergence_runs_every_thirty_seconds() -> None:
    assert CONFIG.converge_repeat_interval == 30.0


def test_the_first_run_comes_an_interval_after_the_start_and_the_next_an_interval_after_its_end() -> None:
    runtime = Looping()
    happened = runtime.stopping.happened

    loops.every(cast("Runtime", runtime), "convergence", 30.0, lambda: happened.append("round"))

    assert happened == [30.0, "round", 30.0, "round", 30.0]


def test_a_task_is_told_of_again_after_thirty_seconds() -> None:
    assert CONFIG.task_limits().kick == TaskLimits().kick == 30 * SECOND


def test_a_task_may_wait_half_an_hour_for_a_cell() -> None:
    assert CONFIG.task_limits().expire_pending == TaskLimits().expire_pending == 30 * MINUTE


def test_a_completed_task_is_kept_for_two_minutes() -> None:
    assert CONFIG.task_limits().expire_completed == TaskLimits().expire_completed == 2 * MINUTE


def test_a_task_is_rejected_three_times_before_it_fails() -> None:
    assert CONFIG.max_task_retries == 3


def test_others_have_ten_seconds_for_an_answer() -> None:
    assert CONFIG.communication_timeout == 10.0


def test_a_subscriber_may_be_1024_events_behind() -> None:
    assert Limits().events == 1024


def test_for_ever_is_the_largest_number() -> None:
    assert Domain.upserted("domain", 0, now=NOW).expires_at == 2**63 - 1


def test_limits_of_what_is_wanted() -> None:
    assert validation.ANNOTATION_BYTES == 10_240
    assert validation.ROUTES_BYTES == 131_072
    assert validation.MOUNTED_FILES_BYTES == 1_048_576
