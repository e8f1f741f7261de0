"""What is looked at while an upgrade runs."""

import json
from pathlib import Path

import pytest

from upgrade.looker import Looker, Subject, name_and_state

HERE, CONTAINER = "pid:[1]", "pid:[2]"


class Machine:
    """A machine's list of processes, and a host's disk."""

    def __init__(self, directory: Path) -> None:
        self.processes = directory / "proc"
        self.mark = directory / "rep-0.json"
        self.processes.mkdir()
        (self.processes / "meminfo").touch()

    def runs(self, number: int, name: str, namespace: str = HERE, state: str = "S") -> None:
        process = self.processes / str(number)
        (process / "ns").mkdir(parents=True, exist_ok=True)
        link = process / "ns/pid"
        link.unlink(missing_ok=True)
        link.symlink_to(namespace)
        (process / "stat").write_text(f"{number} ({name}) {state} 1 1 1 0 -1")

    def ends(self, number: int) -> None:
        process = self.processes / str(number)
        (process / "ns/pid").unlink()
        (process / "ns").rmdir()
        (process / "stat").unlink()
        process.rmdir()

    def marks(self, state: str) -> None:
        new = self.mark.with_suffix(".new")
        new.write_text(json.dumps({"state": state}))
        new.rename(self.mark)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.runs(10, "diego-rep")
    made.runs(11, "diego-garden")
    return made


@pytest.fixture
def looker(machine: Machine) -> Looker:
    subject = Subject("rep-0", "cell-0", frozenset({"diego-rep", "diego-garden"}), str(machine.mark))
    return Looker([subject], {HERE: "cell-0"}, str(machine.processes))


def test_an_instance_is_in_flight_while_one_of_its_programs_is_missing(
    machine: Machine, looker: Looker
) -> None:
    assert looker.look()[0] == []

    machine.ends(11)
    assert looker.look()[0] == ["rep-0"]

    machine.runs(12, "setpriv")
    assert looker.look()[0] == ["rep-0"]

    machine.runs(12, "diego-garden")
    assert looker.look()[0] == []


def test_an_instance_is_in_flight_while_it_is_marked(machine: Machine, looker: Looker) -> None:
    machine.marks("dirty")
    assert looker.look()[0] == ["rep-0"]

    machine.marks("clean")
    assert looker.look()[0] == []


def test_a_program_that_is_dead_and_not_buried_does_not_run(machine: Machine, looker: Looker) -> None:
    machine.runs(11, "diego-garden", state="Z")

    assert looker.look()[0] == ["rep-0"]


def test_what_runs_in_a_container_of_the_host_is_none_of_its_programs(
    machine: Machine, looker: Looker
) -> None:
    machine.ends(11)
    machine.runs(12, "diego-garden", CONTAINER)

    assert looker.look()[0] == ["rep-0"]


def test_a_name_may_hold_what_the_kernel_puts_around_it() -> None:
    assert name_and_state("7 (a) R (b) S 1") == ("a) R (b", "S")
