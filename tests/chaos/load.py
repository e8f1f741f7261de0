"""The standing load: apps that are wanted, scaled and replaced, and tasks; all of it seeded.

Its callers are patient: they ask until they are answered, as the Cloud Controller does. So what is wanted in the end
is certain, and so is what was acknowledged.
"""

import random
import threading
import time
from collections.abc import Callable

from chaos.cells import unanswered
from chaos.history import History
from chaos.site import Control
from diego.bbs.client import BbsClient
from diego.models import BbsError, ErrorType
from diego.wire import desired_lrp_pb2, task_pb2
from support.records import a_desired_message, a_run_action

DOMAIN = "domain"
APPS = 15
SINGLE_APPS = 3
CHANGE_EVERY = 20.0
TASK_EVERY = 5.0
BEGIN_SECONDS = 90.0
PATIENCE = 150.0
AGAIN = 0.3


class Load:
    """A quarter of the standing load of reliability.md section 2: 15 apps of 2 or 3 instances, 3 of one."""

    def __init__(self, control: Control, seed: int) -> None:
        self._control = control
        self._random = random.Random(seed)
        self.wanted: dict[str, int] = {}
        self._kept: set[str] = set()
        self.refusals = 0
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._made = 0

    @property
    def _history(self) -> History:
        return self._control.history

    def begin(self) -> None:
        """Want everything, wait until it runs, and go on changing it."""
        with self._control.client() as client:
            self._patiently("domain", lambda: client.upsert_domain(DOMAIN, 0))
            for number in range(APPS + SINGLE_APPS):
                self.want(client, self._random.choice((2, 3)) if number < APPS else 1)
        if not self.wait_until_all_run(BEGIN_SECONDS):
            self._history.note("wrong", what=f"the standing load did not run after {BEGIN_SECONDS:g} s")
        for run in (self._change_all_the_time, self._task_all_the_time):
            thread = threading.Thread(target=run)
            thread.start()
            self._threads.append(thread)

    def end(self) -> None:
        """Change nothing more."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(PATIENCE + 10)

    def want(self, client: BbsClient, instances: int, guid: str = "") -> str:
        """One more app; its name. One that has a name is an experiment's own, and is not changed by the load."""
        self._made += 1
        if guid:
            self._kept.add(guid)  # before it is wanted
        guid = guid or f"app-{self._made}"
        self._want(client, a_desired_message(guid, instances=instances))
        return guid

    def want_so(self, client: BbsClient, lrp: desired_lrp_pb2.DesiredLRP) -> None:
        """An app of an experiment's own making."""
        self._kept.add(lrp.process_guid)
        self._want(client, lrp)

    def _want(self, client: BbsClient, lrp: desired_lrp_pb2.DesiredLRP) -> None:
        guid = lrp.process_guid
        self._patiently(f"desire {guid}", lambda: client.desire_lrp(lrp), done=ErrorType.RESOURCE_EXISTS)
        self.wanted[guid] = lrp.instances

    def expect(self, guid: str, instances: int) -> None:
        """An experiment has had an app desired by itself."""
        self._kept.add(guid)
        self.wanted[guid] = instances

    def unwant(self, client: BbsClient, guid: str) -> None:
        self._patiently(
            f"remove {guid}", lambda: client.remove_desired_lrp(guid), done=ErrorType.RESOURCE_NOT_FOUND
        )
        del self.wanted[guid]

    def scale(self, client: BbsClient, guid: str, instances: int) -> None:
        update = desired_lrp_pb2.DesiredLRPUpdate(instances=instances)
        self._patiently(f"scale {guid} to {instances}", lambda: client.update_desired_lrp(guid, update))
        self.wanted[guid] = instances

    def task(self, client: BbsClient, guid: str) -> None:
        definition = task_pb2.TaskDefinition(
            root_fs="preloaded:cflinuxfs4",
            action=a_run_action(),
            memory_mb=64,
            disk_mb=64,
            completion_callback_url=f"{self._control.callbacks.url('callback')}/{guid}",
        )
        self._patiently(
            f"task {guid}",
            lambda: client.desire_task(guid, DOMAIN, definition),
            done=ErrorType.RESOURCE_EXISTS,
        )
        self._history.note("task", what="desired", guid=guid)

    def all_run(self) -> bool:
        """Whether exactly what is wanted runs, by the BBS's word."""
        wanted = {(guid, index) for guid, count in self.wanted.items() for index in range(count)}
        try:
            rows = self._control.rows()
        except BbsError:
            return False
        return (
            len(rows) == len(wanted)
            and {(row[0], row[1]) for row in rows if row[2] == "ORDINARY" and row[3] == "RUNNING"} == wanted
        )

    def wait_until_all_run(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not self.all_run():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.3)
        return True

    def _change_all_the_time(self) -> None:
        with self._control.client() as client:
            while not self._stopping.wait(CHANGE_EVERY * self._random.uniform(0.5, 1.5)):
                self.scale(client, self._any(), self._random.randint(1, 4))
                self.unwant(client, self._any())
                self.want(client, self._random.choice((2, 3)))

    def _any(self) -> str:
        return self._random.choice(sorted(set(self.wanted) - self._kept))

    def _task_all_the_time(self) -> None:
        number = 0
        with self._control.client() as client:
            while not self._stopping.wait(TASK_EVERY):
                self.task(client, f"task-{number}")
                number += 1

    def _patiently(self, what: str, ask: Callable[[], object], done: ErrorType | None = None) -> None:
        began = self._history.note("asked", what=what)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                ask()
            except BbsError as error:
                if done is not None and error.type is done:
                    break
                if not unanswered(error):
                    self._history.note("wrong", what=f"{what}: {error.type.name} {error}")
                    return
                failure = error
                self.refusals += 1
            else:
                break
            if time.monotonic() > deadline:
                self._history.note("wrong", what=f"{what}: no answer for {PATIENCE:g} s: {failure}")
                return
            time.sleep(AGAIN)
        self._history.note("acknowledged", what=what, asked=began)
