"""What was measured, kept in a file, so that a cut run is resumed and one step is repeated without the others."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bench.table import TARGETS, Measured


@dataclass
class Results:
    """Figures by their key, which steps were finished in this run, and what a lab showed."""

    path: Path
    figures: dict[str, Measured] = field(default_factory=dict)
    finished: list[str] = field(default_factory=list)
    lab: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> "Results":
        """What the file has; nothing when there is none, or it is of another version."""
        try:
            found = json.loads(path.read_text())
            figures = {key: Measured.read(one) for key, one in found["figures"].items()}
            return Results(path, figures, list(found["finished"]), dict(found["lab"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Results(path)

    def save(self) -> None:
        document = {
            "figures": {key: asdict(one) for key, one in self.figures.items()},
            "finished": self.finished,
            "lab": self.lab,
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(document, indent=1) + "\n")
        new.rename(self.path)

    def add(self, step: str, figures: list[Measured], error: str, at: float) -> None:
        """What a step gave. Where it failed, its rows that have no figure of this time tell why."""
        for one in figures:
            self.figures[one.key] = one
        if error:
            known = {one.key for one in figures}
            for target in TARGETS:
                if target.step == step and target.key not in known:
                    self.figures[target.key] = Measured(target.key, error=error, at=at)
        elif step not in self.finished:
            self.finished.append(step)
        self.save()
