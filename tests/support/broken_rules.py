"""Breaks the BBS's rules, one at a time, and sees the test named after the rule fail.

    python tests/support/broken_rules.py            run all, print what was caught and what was not
    python tests/support/broken_rules.py --table    print docs/rules.md's table without running anything

Each break is made in a copy of the package; the checkout is not touched.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = "bbs/core"
TEST_SECONDS = 120


@dataclass(frozen=True)
class Break:
    """One rule, the words in the source that carry it, what they are replaced by, and the test that must notice."""

    section: str
    rule: str
    module: str
    words: str
    instead: str
    test: str


BREAKS = (
    # section 5
    Break("5", "claim: UNCLAIMED by any instance", "lifecycle", "if not (row.state is UNCLAIMED or (row.state", "if not (row.state is CRASHED or (row.state", "test_lifecycle.py::TestClaim::test_an_unclaimed_index_may_be_claimed_by_any_instance"),
    Break("5", "claim: CLAIMED by the same is no change", "lifecycle", "if row.state is CLAIMED and same:", "if row.state is CRASHED and same:", "test_lifecycle.py::TestClaim::test_a_claim_by_the_same_instance_changes_nothing"),
    Break("5", "claim: RUNNING only by the same", "lifecycle", "(row.state is RUNNING and same)", "row.state is RUNNING", "test_lifecycle.py::TestClaim::test_what_one_instance_holds_no_other_may_claim"),
    Break("5", "claim: net info cleared", "lifecycle", '        cell_id=instance.cell_id,\n        net_info=b"",\n        placement_error="",', '        cell_id=instance.cell_id,\n        placement_error="",', "test_lifecycle.py::TestClaim::test_a_running_instance_may_claim_again_and_loses_its_net_info"),
    Break("5", "claim by the SUSPECT instance is ignored", "lifecycle", "    if rows.suspect is not None and rows.suspect.held_by(*instance):\n        return NOTHING\n    row = rows.ordinary\n    if row is None:\n        raise BbsError.not_found()\n    same", "    row = rows.ordinary\n    if row is None:\n        raise BbsError.not_found()\n    same", "test_lifecycle.py::TestClaim::test_a_claim_by_the_suspect_instance_is_ignored"),
    Break("5", "start: CLAIMED by any instance", "lifecycle", "row.state is CRASHED or (row.state is RUNNING and not", "row.state is CRASHED or (row.state in {CLAIMED, RUNNING} and not", "test_lifecycle.py::TestStart::test_a_claimed_index_may_be_started_by_any_instance"),
    Break("5", "start: RUNNING only by the same", "lifecycle", "if row.state is CRASHED or (row.state is RUNNING and not row.held_by(*told.instance)):", "if row.state is CRASHED:", "test_lifecycle.py::TestStart::test_a_running_index_cannot_be_started_by_another_instance"),
    Break("5", "start: CRASHED refused", "lifecycle", "if row.state is CRASHED or (row.state is RUNNING and not", "if (row.state is RUNNING and not", "test_lifecycle.py::TestStart::test_a_crashed_index_cannot_be_started"),
    Break("5", "start: nothing new is no change", "lifecycle", "    if same_content(row, told):\n        return row\n", "", "test_lifecycle.py::TestStart::test_a_start_that_tells_nothing_new_changes_nothing"),
    Break("5", "start without record makes one", "lifecycle", "        return running(told, ModificationTag(epoch, 0), now=now)\n    if same", "        raise BbsError.not_found()\n    if same", "test_lifecycle.py::TestStart::test_a_start_of_an_index_without_record_makes_one"),
    Break("5", "start ends EVACUATING and SUSPECT", "lifecycle", "for other in (rows.evacuating, rows.suspect) if other", "for other in (rows.evacuating,) if other", "test_lifecycle.py::TestStart::test_a_start_ends_the_evacuating_and_the_suspect_record"),
    Break("5", "crash: at once below 3", "restarts", "IMMEDIATE_BELOW = 3", "IMMEDIATE_BELOW = 4", "test_lifecycle.py::TestCrash::test_the_third_crash_waits_for_convergence"),
    Break("5", "crash: count afresh after 5 min", "restarts", "now - since > FORGIVEN_AFTER", "now - since >= FORGIVEN_AFTER", "test_lifecycle.py::TestCrash::test_one_that_ran_for_exactly_five_minutes_does_not"),
    Break("5", "crash: only RUNNING is forgiven", "restarts", "if running and now", "if now", "test_lifecycle.py::TestCrash::test_one_that_was_only_claimed_for_long_does_not"),
    Break("5", "crash: only by its own instance", "lifecycle", "if row.state not in {CLAIMED, RUNNING} or not row.held_by(*instance):", "if row.state not in {CLAIMED, RUNNING}:", "test_lifecycle.py::TestCrash::test_only_its_own_instance_can_crash_it"),
    Break("5", "crash of SUSPECT deletes only that", "lifecycle", "        return Outcome((Change(rows.suspect, None),))", "        return NOTHING", "test_lifecycle.py::TestCrash::test_a_crash_of_the_suspect_instance_only_ends_the_suspect_record"),
    Break("5", "crash: reason told uncut", "lifecycle", "told = Crash(key_of(row), instance, count, reason, now)", "told = Crash(key_of(row), instance, count, cut_reason(reason), now)", "test_lifecycle.py::TestCrash::test_a_crash_tells_the_reason_uncut_and_remembers_it_cut"),
    Break("1", "reasons cut to 1013 bytes", "texts", "if len(encoded) < REASON_BYTES", "if len(encoded) <= REASON_BYTES", "test_lifecycle.py::TestFail::test_an_unclaimed_index_remembers_why_no_cell_was_found"),
    Break("5", "back-off of 30 s, doubled", "restarts", "FIRST_WAIT << exponent", "FIRST_WAIT << (exponent + 1)", "test_restarts.py"),
    Break("5", "give up at 200", "restarts", "GIVE_UP_AT = 200", "GIVE_UP_AT = 201", "test_restarts.py::test_from_the_two_hundredth_crash_on_nothing_is_restarted"),
    Break("5", "fail only from UNCLAIMED", "lifecycle", "    if row.state is not UNCLAIMED:\n        raise BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_FAILED)\n", "", "test_lifecycle.py::TestFail::test_only_an_unclaimed_index_can_fail"),
    Break("5", "fail of a missing row is success", "lifecycle", "    row = rows.ordinary\n    if row is None:\n        return NOTHING\n    if row.state is not", "    row = rows.ordinary\n    if row is None:\n        raise BbsError.not_found()\n    if row.state is not", "test_lifecycle.py::TestFail::test_a_failure_of_an_index_without_record_is_no_error"),
    Break("5", "unclaim keeps crashes", "lifecycle", '        state=UNCLAIMED,\n        instance_guid="",\n        cell_id="",\n        net_info=b"",\n        since=now,', '        state=UNCLAIMED,\n        instance_guid="",\n        cell_id="",\n        net_info=b"",\n        crash_count=0,\n        since=now,', "test_lifecycle.py::TestUnclaim::test_an_unclaim_empties_the_instance_and_keeps_the_rest"),
    Break("5", "remove: guid and cell must match", "lifecycle", "(instance is not None and not row.held_by(*instance))", "(instance is not None and row.instance_guid != instance.instance_guid)", "test_lifecycle.py::TestRemove::test_with_an_instance_guid_and_cell_must_both_match"),
    Break("4", "presence moves no tag", "lifecycle", "return replace(row, presence=presence)", "return replace(row, presence=presence, tag=row.tag.next())", "test_lifecycle.py::TestPresence::test_a_change_of_presence_moves_neither_time_nor_tag"),
    Break("5", "retire: five tries", "retire", "ATTEMPTS = 5", "ATTEMPTS = 4", "test_service.py::TestRetire::test_a_cell_that_agrees_at_last_is_enough"),
    Break("5", "retire: UNCLAIMED and CRASHED are deleted", "retire", "{ActualLRPState.UNCLAIMED, ActualLRPState.CRASHED}", "{ActualLRPState.CRASHED}", "test_retire.py::test_what_no_cell_holds_is_deleted_at_once"),
    # section 6
    Break("6", "evacuate_claimed unclaims and auctions", "evacuation", "return Evacuation(Outcome((Change(row, unclaim(row, now=now)),), auction=True))\n\n\ndef crashed", "return Evacuation(Outcome((Change(row, unclaim(row, now=now)),)))\n\n\ndef crashed", "test_evacuation.py::TestClaimed::test_an_ordinary_target_goes_back_to_auction"),
    Break("6", "evacuate_claimed of UNCLAIMED refused", "evacuation", "    if row.state is UNCLAIMED:\n        raise BbsError(ErrorType.ACTUAL_LRP_CANNOT_BE_UNCLAIMED)\n", "", "test_evacuation.py::TestClaimed::test_what_is_unclaimed_already_cannot_be_unclaimed"),
    Break("6", "evacuate_crashed: no auction, told only when CRASHED", "evacuation", "    if after is not None and after.state is not CRASHED:\n        told = None\n", "", "test_evacuation.py::TestCrashed::test_a_forgiven_crash_is_neither_auctioned_nor_told_of"),
    Break("6", "remove_evacuating only of EVACUATING", "evacuation", "    if row.presence is not EVACUATING:\n        raise BbsError.not_found()\n", "", "test_evacuation.py::TestRemoveEvacuating::test_anything_else_is_not_found"),
    Break("6", "evacuate_running row 2", "evacuation", "        return Evacuation()  # 2", "        return Evacuation(keep_container=True)  # 2", "test_evacuation.py::TestRunning::test_row2_without_any_record_the_container_goes"),
    Break("6", "evacuate_running row 3", "evacuation", "ordinary.state in {RUNNING, CRASHED}", "ordinary.state in {RUNNING}", "test_evacuation.py::TestRunning::test_row3_once_the_replacement_has_crashed_it_goes_as_well"),
    Break("6", "evacuate_running row 4", "evacuation", "if ordinary is None or elsewhere or desired is None:  # 3, 4", "if ordinary is None or elsewhere:  # 3, 4", "test_evacuation.py::TestRunning::test_row4_what_nobody_wants_any_more_goes"),
    Break("6", "evacuate_running rows 7, 8", "evacuation", "    if target.presence is not ORDINARY:  # 7, 8", "    if target.presence is EVACUATING:  # 7, 8", "test_evacuation.py::TestRunning::test_rows7_and_8_recreate_deletes_an_evacuating_or_suspect_target"),
    Break("6", "evacuate_running row 9", "evacuation", "if running_ordinary < desired.instances:  # 9", "if running_ordinary < 0:  # 9", "test_evacuation.py::TestRunning::test_row9_recreate_waits_while_another_instance_is_down"),
    Break("6", "evacuate_running row 10", "evacuation", "if running_ordinary < desired.instances:  # 9", "if running_ordinary <= desired.instances:  # 9", "test_evacuation.py::TestRunning::test_row10_recreate_gives_the_instance_back_to_auction"),
    Break("6", "evacuate_running row 11", "evacuation", "if target is None and rows.evacuating is not None:  # 11", "if False:  # 11", "test_evacuation.py::TestRunning::test_row11_rolling_with_another_evacuating_record_the_container_goes"),
    Break("6", "evacuate_running row 12, equal one", "evacuation", "    if same_content(target, told):\n        return NOTHING\n", "", "test_evacuation.py::TestRunning::test_row12_a_repeated_question_changes_nothing_and_keeps_the_container"),
    Break("6", "evacuate_running row 13", "evacuation", "Outcome((Change(target, leaving), Change(None, replacement)), auction=True)", "Outcome((Change(target, leaving), Change(None, replacement)))", "test_evacuation.py::TestRunning::test_row13_rolling_an_ordinary_target_stays_as_evacuating_and_is_replaced"),
    Break("6", "evacuate_running row 14", "evacuation", "    if target.presence is SUSPECT:  # 14", "    if False:  # 14", "test_evacuation.py::TestRunning::test_row14_rolling_a_suspect_target_becomes_evacuating"),
    Break("6", "evacuate_running row 15", "evacuation", "        return Evacuation(_kept(target, told, now=now, epoch=epoch), keep_container=True)  # 12\n    if target.state not in HELD:  # 15\n        return Evacuation()\n", "        return Evacuation(_kept(target, told, now=now, epoch=epoch), keep_container=True)  # 12\n", "test_evacuation.py::TestRunning::test_row15_anything_else_lets_the_container_go"),
    # section 7
    Break("7", "row 2", "convergence", "row is None or row.cell_id in around.cells:\n        return rows\n    decision.units.append((Change(row, None),))  # 2", "row is None or row.cell_id:\n        return rows\n    decision.units.append((Change(row, None),))  # 2", "test_convergence.py::TestRow2Evacuating"),
    Break("7", "row 3, older than 30 s", "convergence", "around.now - row.since > STALE_UNCLAIMED", "around.now - row.since >= STALE_UNCLAIMED", "test_convergence.py::TestRow3StaleUnclaimed::test_one_of_thirty_seconds_is_not"),
    Break("7", "row 4, suspect and replaced", "convergence", "        decision.units.append((Change(row, moved(row, Presence.SUSPECT)), Change(None, replacement)))\n        decision.start = True", "        decision.units.append((Change(row, moved(row, Presence.SUSPECT)), Change(None, replacement)))", "test_convergence.py::TestRow4CellLost::test_an_instance_of_an_absent_cell_becomes_suspect_and_is_replaced"),
    Break("7", "row 4, a second suspect is only unclaimed", "convergence", "        if rows.suspect is not None:\n            decision.units", "        if False:\n            decision.units", "test_convergence.py::TestRow4CellLost::test_with_a_suspect_record_already_there_it_is_only_unclaimed"),
    Break("7", "row 5, too few", "convergence", "if key.index < desired.instances:  # 5", "if key.index <= desired.instances:  # 5", "test_convergence.py::TestRow5WrongNumber::test_an_index_that_nobody_wants_is_not_made"),
    Break("7", "row 5, too many only when fresh", "convergence", "if key.index >= desired.instances and around.fresh:", "if key.index >= desired.instances:", "test_convergence.py::TestRow5WrongNumber::test_but_not_in_a_domain_that_is_not_fresh"),
    Break("7", "row 6, only while listed", "convergence", "if rows.ordinary is not None and around.listed:  # 6", "if rows.ordinary is not None:  # 6", "test_convergence.py::TestRow6Orphans::test_but_not_when_its_domain_has_expired"),
    Break("7", "row 7, only while listed", "convergence", "orphan = desired is None and around.listed  # 7", "orphan = desired is None  # 7", "test_convergence.py::TestRow7SuspectOrphans::test_but_not_when_its_domain_has_expired"),
    Break("7", "row 7, a surplus suspect whose cell is away", "convergence", "if orphan or surplus or replaced:", "if orphan or replaced:", "test_convergence.py::TestRow7SuspectOrphans::test_one_of_an_index_that_is_too_many_goes_when_its_cell_cannot_be_asked"),
    Break("7", "row 8, only when both run", "convergence", "rows.ordinary is not None and rows.ordinary.state is RUNNING  # 8", "rows.ordinary is not None  # 8", "test_convergence.py::TestRow8SuspectReplaced::test_but_not_while_the_replacement_is_only_claimed"),
    Break("7", "row 9", "convergence", "    if row.cell_id not in around.cells:\n        return rows\n    if rows.ordinary is not None:  # 9", "    if row.cell_id in around.cells:\n        return rows\n    if rows.ordinary is not None:  # 9", "test_convergence.py::TestRow9CellIsBack::test_a_suspect_instance_whose_cell_is_back_counts_again_and_its_replacement_goes"),
    Break("7", "row 10, back-off", "convergence", "if restarts.due(row.crash_count, since=row.since, now=around.now):  # 10", "if True:  # 10", "test_convergence.py::TestRow10Crashed::test_but_not_before"),
    Break("7", "row 11, as sets", "convergence", "wanted if set(wanted) != set(row.internal_routes or ()) else None", "wanted if wanted != (row.internal_routes or ()) else None", "test_convergence.py::TestRow11InternalRoutes::test_their_order_does_not_matter"),
    Break("7", "row 12, null tags are skipped", "convergence", "if row.metric_tags is not None:", "if True:", "test_convergence.py::TestRow12MetricTags::test_an_instance_that_never_told_its_tags_is_left_alone"),
    # section 8
    Break("8", "start: Running on the same cell", "tasks", "    if task.state is RUNNING and task.cell_id == cell_id:\n        return task\n", "", "test_tasks.py::test_a_second_start_on_the_same_cell_changes_nothing"),
    Break("8", "start only from Pending", "tasks", "_expect(task, {PENDING}, RUNNING)", "_expect(task, {PENDING, RUNNING}, RUNNING)", "test_tasks.py::test_a_running_task_is_not_started_on_another_cell"),
    Break("8", "complete only by its cell", "tasks", "        raise BbsError.different_cell(task.cell_id, cell_id)", "        pass", "test_tasks.py::test_a_running_task_is_not_completed_by_another_cell"),
    Break("8", "complete empties the cell", "tasks", '        cell_id="",\n        failed=failed', "        failed=failed", "test_tasks.py::test_a_running_task_is_completed_by_its_cell"),
    Break("8", "cancel: its reason", "tasks", "task was cancelled", "task was canceled", "test_tasks.py::test_a_task_that_has_not_ended_can_be_cancelled"),
    Break("8", "reject: the count before decides", "tasks", "task.rejection_count >= max_retries", "task.rejection_count + 1 >= max_retries", "test_tasks.py::test_with_three_retries_the_fourth_rejection_fails_the_task"),
    Break("8", "reject in another state", "tasks", "        raise BbsError.invalid_request()\n    rejected", "        return task, task\n    rejected", "test_tasks.py::test_a_task_that_has_ended_cannot_be_rejected"),
    Break("8", "resolving only from Completed", "tasks", "_expect(task, {COMPLETED}, RESOLVING)", "_expect(task, {COMPLETED, RUNNING}, RESOLVING)", "test_tasks.py::test_every_other_transition_is_refused_by_name"),
    Break("8", "delete only from Resolving", "tasks", "_expect(task, {RESOLVING}, RESOLVING)", "_expect(task, {RESOLVING, COMPLETED}, RESOLVING)", "test_tasks.py::test_only_a_resolving_task_can_be_deleted"),
    Break("8", "convergence row 1", "convergence", "now - task.created_at > limits.expire_pending", "now - task.updated_at > limits.expire_completed", "test_convergence.py::TestTasks"),
    Break("8", "convergence row 2", "convergence", "return TaskDecision(task, auction=True)", "return TaskDecision(task)", "test_convergence.py::TestTasks::test_row2_a_younger_one_is_auctioned_in_every_run"),
    Break("8", "convergence row 3 keeps the cell", "convergence", "return TaskDecision(replace(ended, cell_id=task.cell_id))", "return TaskDecision(ended)", "test_convergence.py::TestTasks::test_row3_a_task_on_an_absent_cell_fails_and_keeps_its_cell"),
    Break("8", "convergence row 4", "convergence", "after = replace(task, state=TaskState.COMPLETED)", "after = replace(task, state=TaskState.COMPLETED, updated_at=now)", "test_convergence.py::TestTasks::test_row4_a_task_resolving_for_too_long_is_completed_again"),
    Break("8", "convergence row 5", "convergence", "now - after.first_completed_at > limits.expire_completed", "now - after.first_completed_at > limits.expire_pending", "test_convergence.py::TestTasks::test_row5_a_task_completed_for_two_minutes_is_deleted"),
    Break("8", "convergence row 6", "convergence", "callback=now - after.updated_at > limits.kick", "callback=now - after.updated_at >= limits.kick", "test_convergence.py::TestTasks::test_row6_not_before"),
)  # fmt: skip


def caught(broken: Break) -> bool:
    """Whether the test fails in a copy of the package with the rule broken."""
    with tempfile.TemporaryDirectory(prefix="diego-broken-") as directory:
        jobs = Path(directory) / "jobs"
        shutil.copytree(ROOT / "jobs" / "diego", jobs / "diego", ignore=shutil.ignore_patterns("__pycache__"))
        module = jobs / "diego" / CORE / f"{broken.module}.py"
        source = module.read_text()
        if source.count(broken.words) != 1:
            raise SystemExit(f"{broken.module}: {broken.words!r} is there {source.count(broken.words)} times")
        module.write_text(source.replace(broken.words, broken.instead))
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"tests/unit/bbs/{broken.test}"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(jobs), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=TEST_SECONDS,
            check=False,
        )
        return ended.returncode == 1 and "failed" in ended.stdout


def table() -> str:
    lines = ["| § | Rule | Test in tests/unit/bbs | Broken as |", "|---|---|---|---|"]
    for broken in BREAKS:
        name = broken.test.replace("::", " › ")
        lines.append(
            f"| {broken.section} | {broken.rule} | {name} | {broken.module}: "
            f"{_code(broken.words)} → {_code(broken.instead)} |"
        )
    return "\n".join(lines)


def _code(words: str) -> str:
    """The part of it that fits a table."""
    line = " ".join(words.split()) or "(nothing)"
    line = line.replace("|", "\\|")
    return f"`{line if len(line) <= 90 else line[:87] + '...'}`"


def main() -> int:
    if "--table" in sys.argv:
        print(table())
        return 0
    missed = []
    for broken in BREAKS:
        noticed = caught(broken)
        print(("caught  " if noticed else "MISSED  ") + f"{broken.section} {broken.rule}", flush=True)
        if not noticed:
            missed.append(broken)
    print(f"{len(BREAKS) - len(missed)} of {len(BREAKS)} broken rules were caught")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
