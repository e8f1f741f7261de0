"""The log of a job that goes on writing it."""

import json
from pathlib import Path
from typing import Any


def json_lines(log: Path) -> list[dict[str, Any]]:
    """Its lines so far. One that is only half there is not yet a line; what is not JSON is left out."""
    whole, _, _ = log.read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
