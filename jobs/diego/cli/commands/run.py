"""`diego run FILE`: make it so, and say when it is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from diego.bbs.client import BbsClient
from diego.cli.commands.options import json_option
from diego.cli.core.changes import fixed_differences, update_between
from diego.cli.core.manifest import ManifestError, Workloads, read_workloads
from diego.cli.core.progress import progress
from diego.cli.faults import Fault, Status
from diego.cli.output import Output
from diego.cli.session import Session, pass_session
from diego.models.desired_lrp import hostnames
from diego.models.errors import BbsError, ErrorType
from diego.wire.desired_lrp_pb2 import DesiredLRP
from diego.wire.task_pb2 import Task

POLL = 0.25
"""Seconds between two looks at what is waited for."""


@click.command("run")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--wait/--no-wait", default=True, help="Wait until all of it runs or is completed.")
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=180, show_default=True, help="Seconds to wait."
)
@click.option("--replace", is_flag=True, help="Remove and desire anew what cannot be updated in place.")
@json_option
@pass_session
def run(session: Session, file: str, wait: bool, timeout: float, replace: bool) -> None:  # noqa: FBT001 (click's form)
    """Run the workloads of FILE (- for standard input), and wait until they do.

    FILE is YAML with the lists desired_lrps and tasks, their entries in the JSON keys that the other commands
    print. ${NAME} is taken from the environment. What runs already is updated; a task that is completed runs again.

    Example: diego run manifests/workloads/web.yml

    Example: diego run --no-wait - < web.yml
    """
    workloads = _workloads(session, file)
    work = Run(session.bbs, session.output, time.monotonic() + timeout, file)
    work.freshen(workloads)
    made = [work.apply_lrp(lrp, number, replace=replace) for number, lrp in enumerate(workloads.desired_lrps)]
    for number, task in enumerate(workloads.tasks):
        work.apply_task(task, number)
    for lrp, done in zip(workloads.desired_lrps, made, strict=True):
        if wait:
            work.wait_for_lrp(lrp)
        urls = [url(name, session.environment) for name in hostnames(lrp.routes.routes)]
        if session.output.json:
            row = {"process_guid": lrp.process_guid, "done": done, "instances": lrp.instances, "urls": urls}
            session.output.line(row)
        else:
            runs = f"{lrp.instances} running" if wait else "not waited for"
            session.output.say(f"{lrp.process_guid}: {done}, {runs}" + "".join(f"  {each}" for each in urls))
    for task in workloads.tasks:
        _show_task(session.output, task, work.wait_for_task(task) if wait else None)


def _workloads(session: Session, file: str) -> Workloads:
    source = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except FileNotFoundError as error:
        hint = "manifests/workloads has some to try"
        raise Fault(f"there is no file {source}", hint=hint, status=Status.BAD_ARGUMENTS) from error
    except OSError as error:
        raise Fault(f"{source} cannot be read: {error.strerror}", status=Status.BAD_ARGUMENTS) from error
    except UnicodeDecodeError as error:
        raise Fault(f"{source} is no text: {error}", status=Status.BAD_ARGUMENTS) from error
    try:
        return read_workloads(text, source, session.environment)
    except ManifestError as error:
        raise Fault(str(error), status=Status.BAD_ARGUMENTS) from error


def url(hostname: str, environment: dict[str, str]) -> str:
    """Where the router serves a name; its port is told only when it is not HTTP's own."""
    port = environment.get("ROUTER_ADDRESS", "").rpartition(":")[2]
    host, slash, path = hostname.partition("/")
    return f"http://{host}{f':{port}' if port.isdigit() and port != '80' else ''}{slash}{path}"


def _show_task(output: Output, task: Task, done: Task | None) -> None:
    if done is None:
        if output.json:
            output.line({"task_guid": task.task_guid})
        else:
            output.say(f"task {task.task_guid}: not waited for")
        return
    if output.json:
        row: dict[str, Any] = {"task_guid": done.task_guid, "failed": done.failed}
        output.line({**row, "failure_reason": done.failure_reason, "result": done.result})
    elif not done.failed:
        output.say(f"task {task.task_guid}: completed" + (f"\n{done.result}" if done.result else ""))
    if done.failed:
        raise Fault(
            f"task {task.task_guid} failed: {done.failure_reason}",
            hint=f"`diego logs {task.task_guid}` shows what it said",
        )


@dataclass
class Run:
    """One run of a file against a BBS, with one deadline (of the monotonic clock) for all of it."""

    bbs: BbsClient
    output: Output
    deadline: float
    source: str

    def freshen(self, workloads: Workloads) -> None:
        """Make the domains fresh for ever, so that what is no longer wanted in them is stopped."""
        fresh = set(self.bbs.domains())
        for domain in workloads.domains:
            if domain and domain not in fresh:
                self.bbs.upsert_domain(domain, 0)

    def apply_lrp(self, wanted: DesiredLRP, number: int, *, replace: bool) -> str:
        """Desire an LRP or update it; says which of it was done.

        Raises:
            Fault: it exists and differs in what cannot be updated; the BBS's findings, with the entry's place.
        """
        place = f"{self.source}: desired_lrps[{number}] ({wanted.process_guid})"
        with _placed(place):
            try:
                self.bbs.desire_lrp(wanted)
            except BbsError as error:
                if error.type is not ErrorType.RESOURCE_EXISTS:
                    raise
            else:
                return "created"
            existing = self.bbs.desired_lrp(wanted.process_guid)
            different = fixed_differences(existing, wanted)
            if different and replace:
                return self._replace(wanted)
            if different:
                raise Fault(
                    f"{place} exists, and cannot be changed in place in {', '.join(different)}",
                    hint="another process_guid lets both live side by side; --replace stops the old one first",
                    status=Status.REFUSED,
                )
            update = update_between(existing, wanted)
            if update is None:
                return "unchanged"
            self.bbs.update_desired_lrp(wanted.process_guid, update)
            return "updated"

    def _replace(self, wanted: DesiredLRP) -> str:
        self.bbs.remove_desired_lrp(wanted.process_guid)
        guid = wanted.process_guid
        self._until(lambda: not self.bbs.actual_lrps(process_guid=guid), lambda: f"{guid} does not stop")
        self.bbs.desire_lrp(wanted)
        return "replaced"

    def apply_task(self, task: Task, number: int) -> None:
        """Desire a task. One that is under way is left alone, one that is completed is run again."""
        with _placed(f"{self.source}: tasks[{number}] ({task.task_guid})"):
            try:
                self.bbs.desire_task(task.task_guid, task.domain, task.task_definition)
            except BbsError as error:
                if error.type is not ErrorType.RESOURCE_EXISTS:
                    raise
            else:
                return
            if self.bbs.task(task.task_guid).state != Task.Completed:
                return
            self.bbs.resolving_task(task.task_guid)
            self.bbs.delete_task(task.task_guid)
            self.bbs.desire_task(task.task_guid, task.domain, task.task_definition)

    def wait_for_lrp(self, wanted: DesiredLRP) -> None:
        """Wait until exactly the wanted instances run. Raises Fault when they cannot, or not in time."""
        guid = wanted.process_guid
        seen = progress([], wanted.instances)

        def there() -> bool:
            nonlocal seen
            seen = progress(self.bbs.actual_lrps(process_guid=guid), wanted.instances)
            if seen.failure:
                raise Fault(f"{guid}: {seen.failure}", hint=f"`diego logs {guid}` shows what it said")
            return seen.done

        self._until(there, lambda: f"{guid}: {seen}")

    def wait_for_task(self, task: Task) -> Task:
        """Wait until a task is completed, and hand it back. Raises Fault when it is not in time, or gone."""
        state = "Pending"
        found = task

        def there() -> bool:
            nonlocal state, found
            try:
                found = self.bbs.task(task.task_guid)
            except BbsError as error:
                if error.type is ErrorType.RESOURCE_NOT_FOUND:
                    raise Fault(f"task {task.task_guid} was deleted before its result was read") from error
                raise
            state = Task.State.Name(found.state)
            return found.state in {Task.Completed, Task.Resolving}

        self._until(there, lambda: f"task {task.task_guid}: {state}")
        return found

    def _until(self, there: Callable[[], bool], story: Callable[[], str]) -> None:
        """Look again and again, telling each change, until `there`. Raises Fault at the deadline."""
        told = ""
        while not there():
            if story() != told:
                told = story()
                self.output.progress(told)
            if time.monotonic() > self.deadline:
                raise Fault(
                    f"waited in vain: {told}", hint="it goes on without being waited for; `diego status`"
                )
            time.sleep(POLL)
        self.output.progress_ended()


@contextmanager
def _placed(place: str) -> Iterator[None]:
    """What the BBS finds wrong with an entry is told with the entry's place in the file."""
    try:
        yield
    except BbsError as error:
        if error.type is ErrorType.INVALID_REQUEST:
            raise Fault(f"{place}: {error.message}", status=Status.REFUSED) from error
        raise
