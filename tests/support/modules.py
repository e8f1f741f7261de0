"""Ansible modules of ours as tests call them: loaded from their files, with places and a supervisor of the test."""

import importlib.util
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROLE = Path(__file__).resolve().parents[2] / "roles/job"


def load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def load_module(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of that name; the host's directories are below `root`."""
    shared = load("ansible.module_utils.diego_supervisor", ROLE / "module_utils/diego_supervisor.py")
    module = load(f"tested_{name}", ROLE / f"library/{name}.py")
    places = {"VCAP": root / "vcap", "PROGRAMS": root / "supervisord.d", "INSTANCES": root / "vcap/instances"}
    for where in (shared, module):
        for place, path in places.items():
            if hasattr(where, place):
                monkeypatch.setattr(where, place, path)
    for place in ("vcap", "supervisord.d"):
        (root / place).mkdir()
    return module


@dataclass
class FakeModule:
    """What a module's code asks of Ansible."""

    params: dict[str, Any]
    tmpdir: str
    check_mode: bool = False
    commands: list[list[str]] = field(default_factory=list)
    complaint: str = ""
    """What the job says of its configuration; nothing: it is good."""

    def run_command(self, command: list[str], cwd: str) -> tuple[int, str, str]:
        assert cwd == "/"
        assert Path(command[-1]).exists()
        self.commands.append(command)
        return (1 if self.complaint else 0), "", self.complaint


class FakeSupervisor:
    """Supervisor's answers for programs whose files lie in `directory`; it remembers what it was asked."""

    def __init__(self, module: ModuleType, directory: Path) -> None:
        self.directory = directory
        self.states: dict[str, str] = {}
        self.read: dict[str, str] = {}
        self.asked: list[str] = []
        self.after_start = "RUNNING"
        self.bring_up = module.Supervisor.bring_up.__get__(self)

    def state(self, program: str) -> str:
        return self.states.get(program, "MISSING")

    def reload(self) -> set[str]:
        found = {path.stem: path.read_text() for path in self.directory.glob("*.conf")}
        changed = {name for name, text in found.items() if name in self.read and self.read[name] != text}
        self.read = found
        return changed

    def add(self, program: str) -> None:
        self.asked.append(f"add {program}")
        self.states[program] = self.after_start

    def remove(self, program: str) -> None:
        self.asked.append(f"remove {program}")
        self.states.pop(program, None)

    def stop(self, program: str, *, wait: bool = True) -> None:
        self.asked.append(f"stop {program}")
        self.states[program] = "STOPPED"

    def start(self, program: str) -> None:
        self.asked.append(f"start {program}")
        self.states[program] = self.after_start
