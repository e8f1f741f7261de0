# ruff: noqa: INP001, SLF001  Ansible loads a plugin as a file, and a strategy works on the insides of its engine
"""Ansible strategy: the instances of a group, zone by zone, canaries first, through a sliding window.

Who may begin is decided by diego.deploy.core.plan; this carries it out. It is Ansible's `free` strategy, in which each
host goes on with its own tasks, but for one thing: a host is only handed out when it may begin. When one has failed or
cannot be reached nobody begins any more, those that have begun go on to their end, and no later play runs.
docs/adr/0015-the-window-is-a-strategy.md says why it is not another construct. In check mode it tells the order and the
reasons, and nobody begins.

Variables of the play and its hosts:
    instance_group          the group
    instance_due            of each host: by group, why its instance changes; nothing there: it is left alone
    zone                    of each host
    update, update_groups   the update block, and what groups say for themselves
    deployment_directory    where the record is kept
    release_version         told in the record
    instance_step           of a task: what it is called when it fails; a result's `step` says it better
It gives to a host that begins:
    instance_id, instance_watch (low, step, further)
"""

from __future__ import annotations

import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from ansible import context
from ansible.errors import AnsibleError
from ansible.executor.play_iterator import IteratingStates
from ansible.plugins.strategy.free import StrategyModule as FreeStrategy
from ansible.template import Templar
from ansible.utils.display import Display

from diego.deploy import record
from diego.deploy.core import plan, report
from diego.deploy.core.plan import Instance, Progress
from diego.deploy.core.update import BadUpdate, update_of

display = Display()

DOCUMENTATION = """
    name: diego_window
    short_description: canaries, then a sliding window per zone
    description: The update of a group of instances as contract/deployment.md has it.
    author: The Diego project
"""

held: list[IO[str]] = []
"""The lock on the record: taken by the first play that needs it, held while this process lives."""


class StrategyModule(FreeStrategy):  # type: ignore[misc]  # Ansible has no types
    def run(self, iterator: Any, play_context: Any) -> Any:
        self._set_hosts_cache(iterator._play)
        try:
            self._prepare(iterator)
        except (BadUpdate, record.Busy, record.BadRecord, ValueError) as error:
            raise AnsibleError(str(error)) from error
        result = super().run(iterator, play_context)
        self._advance(iterator)
        waiting = plan.not_begun(self.steps, self.progress)
        if not self.progress.failed and not self.stopped:
            return result
        finished = [each for each in self.by_id.values() if each.id in self.progress.finished]
        for line in report.stop_told(
            self.failures.values(), finished, waiting, self.later_groups, _command()
        ):
            display.display(line, color="red")
        return self._tqm.RUN_FAILED_BREAK_PLAY

    def get_hosts_left(self, iterator: Any) -> list[Any]:
        """Those that have begun, whoever may begin now at the end.

        The list only grows, since `free` remembers places in it; one that is done has no task left in it.
        """
        self._advance(iterator)
        for instance in plan.may_begin(self.steps, self.progress) if not self._stop() else ():
            self._begin(instance)
        if not self.progress.in_flight:
            for instance in plan.not_begun(self.steps, self.progress):
                iterator.set_run_state_for_host(instance.host, IteratingStates.COMPLETE)
        return [self._inventory.get_host(name) for name in self.begun or self._hosts_cache]

    # the group

    def _prepare(self, iterator: Any) -> None:
        play = iterator._play
        hosts = list(self._hosts_cache)
        seen = {name: self._variables(play, name) for name in hosts}
        any_of = next(iter(seen.values()))
        self.group = str(any_of["instance_group"])
        members = list(any_of["groups"][self.group])
        self.by_id = {}
        for index, name in enumerate(members):
            zone = str((seen[name] if name in seen else self._variables(play, name)).get("zone", ""))
            instance = Instance(self.group, index, zone, name)
            self.by_id[instance.id] = instance
        self.update = update = update_of(
            self.group, any_of.get("update") or {}, any_of.get("update_groups") or {}
        )
        if (faults := plan.faults_of(self.by_id.values(), update)) and not any_of.get("update_all_at_once"):
            raise BadUpdate(f"{'; '.join(faults)}. If it is meant: -e update_all_at_once=true")
        directory = Path(any_of["deployment_directory"])
        self.only_told = bool(context.CLIARGS["check"])
        if not held and not self.only_told:
            held.append(record.alone(directory))
        self.record = record.Record.read(directory)
        self.release = str(any_of.get("release_version", ""))
        order = list(any_of.get("instance_groups") or [])
        self.later_groups = order[order.index(self.group) + 1 :] if self.group in order else []
        due = {
            instance.id: list((seen[instance.host].get("instance_due") or {}).get(self.group) or [])
            for instance in self.by_id.values()
            if instance.host in seen
        }
        for name, entry in self.record.unfinished().items():
            if name in due:
                due[name].append(f"an earlier run left it {entry.state}")
        changed = {name for name, why in due.items() if why}
        self.steps = plan.steps_of(self.by_id.values(), changed, update)
        self.progress = Progress()
        self.begun: list[str] = []
        self.failures: dict[str, report.Failure] = {}
        self.stopped = False
        self._gate(hosts)
        for line in report.order_told(self.group, self.steps):
            display.display(line)
        tell = display.display if self.only_told else display.v
        for name in sorted(changed):
            tell(f"{name} changes: {'; '.join(due[name])}")
        if self.only_told:
            changed, self.steps = set(), ()
        for name in set(hosts) - {self.by_id[each].host for each in changed}:
            iterator.set_run_state_for_host(name, IteratingStates.COMPLETE)

    def _gate(self, hosts: list[str]) -> None:
        """A host that an earlier play lost must not be left out in silence."""
        lost = sorted(name for name in hosts if name in self._tqm._unreachable_hosts)
        if lost:
            raise ValueError(f"{self.group}: {', '.join(lost)} cannot be reached")

    def _variables(self, play: Any, name: str) -> dict[str, Any]:

        variables = self._variable_manager.get_vars(play=play, host=self._inventory.get_host(name))
        templar = Templar(loader=self._loader, variables=variables)
        wanted = ("instance_group", "instance_due", "zone", "update", "update_groups", "update_all_at_once")
        wanted += ("deployment_directory", "release_version", "groups", "instance_groups")
        return {key: templar.template(variables[key]) for key in wanted if key in variables}

    # who is where

    def _begin(self, instance: Instance) -> None:
        canary = plan.is_canary(self.steps, instance.id)
        kind = ", a canary" if canary else ""
        display.display(f"{instance.id} begins ({instance.host}, zone {instance.zone or '-'}{kind})")
        self.record.begin(instance.id, instance.host, self.release, datetime.now(UTC))
        watch = self.update.canary_watch_time if canary else self.update.update_watch_time
        told = {"low": watch.low, "step": watch.step, "further": watch.further_checks}
        about = {"instance_id": instance.id, "instance_watch": told}
        self._variable_manager.set_nonpersistent_facts(instance.host, about)
        self.begun.append(instance.host)
        self.progress = Progress(
            self.progress.in_flight | {instance.id}, self.progress.finished, self.progress.failed
        )

    def _advance(self, iterator: Any) -> None:
        for name in sorted(self.progress.in_flight):
            instance = self.by_id[name]
            host = self._inventory.get_host(instance.host)
            if self._blocked_hosts.get(host.name, False):
                continue
            if host.name in self._tqm._unreachable_hosts or iterator.is_failed(host):
                self._end(instance, record.FAILED)
            elif iterator.get_next_task_for_host(host, peek=True)[1] is None:
                self._end(instance, record.FINISHED)

    def _end(self, instance: Instance, state: str) -> None:
        failure = self.failures.get(instance.id)
        if state == record.FAILED and failure is None:
            failure = report.Failure(instance, "-", "its tasks ended early")
            self.failures[instance.id] = failure
        display.display(f"{instance.id} is {state}")
        self.record.end(
            instance.id,
            state,
            datetime.now(UTC),
            step=failure.step if failure else "",
            message=failure.message if failure else "",
        )
        finished, failed = self.progress.finished, self.progress.failed
        if state == record.FINISHED:
            finished |= {instance.id}
        else:
            failed |= {instance.id}
        self.progress = Progress(self.progress.in_flight - {instance.id}, finished, failed)

    def _stop(self) -> bool:
        """Whether an operator's wish ends this run; it is only asked for while somebody waits."""
        waits = bool(plan.not_begun(self.steps, self.progress)) and not self.progress.failed
        if not self.stopped and waits and self.record.stop_wanted():
            self.stopped = True
            self.record.stop_obeyed()
            display.display(f"{self.group}: a stop was asked for: no further instance begins", color="red")
        return self.stopped

    # what failed

    def _process_pending_results(self, iterator: Any, *words: Any, **named: Any) -> Any:
        results = super()._process_pending_results(iterator, *words, **named)
        for result in results:
            lost = result.is_unreachable()
            if lost or (result.is_failed() and iterator.is_failed(result.host)):
                self._note(result.host.name, result.task, result._return_data, lost=lost)
        return results

    def _note(self, host: str, task: Any, said: dict[str, Any], *, lost: bool) -> None:
        for instance in self.by_id.values():
            if instance.host == host and instance.id in self.progress.in_flight:
                step = str(
                    said.get("step") or task.get_vars().get("instance_step") or task.get_name().lower()
                )
                words = str(said.get("msg") or said.get("exception") or "no reason given")
                if task.no_log:
                    words = "not shown: the task has no_log"
                reason = f"the host cannot be reached: {words}" if lost else words
                self.failures.setdefault(instance.id, report.Failure(instance, step, reason))


def _command() -> str:
    return shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
