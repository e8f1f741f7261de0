"""The operator's page on metrics has every number of the table, by the name that it really has."""

import json
import re
from pathlib import Path

ROWS = json.loads((Path(__file__).parent / "data" / "metrics.json").read_text())
PAGE = (Path(__file__).parents[3] / "docs" / "operations" / "metrics.md").read_text()
SECTIONS = {"BBS": "bbs", "Locket": "locket", "Auctioneer": "auctioneer"}
ROW = re.compile(r"^\| `([^`]+)` \| `([^`{]+)(?:\{([^`}]*)\})?` \| (gauge|counter) \|", re.MULTILINE)


def told() -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for section in PAGE.split("\n## ")[1:]:
        job = SECTIONS.get(section.split("\n", 1)[0])
        if job is not None:
            found |= {(job, *row.groups(default="")) for row in ROW.finditer(section)}
    return found


def test_the_page_tells_of_every_number_and_of_no_other() -> None:
    wanted = {(row["job"], row["name"], row["shown"], ",".join(row["labels"]), row["kind"]) for row in ROWS}

    assert told() == wanted


def test_each_expression_of_an_alarm_names_a_number_that_exists() -> None:
    known = {row["shown"] for row in ROWS}
    alarms = PAGE.split("\n## When to be alarmed", 1)[1].split("\n## ", 1)[0]
    named = set(re.findall(r"\b([a-z][a-z_]{5,})(?=[\[{)])", alarms)) - {"increase"}

    assert named
    assert named <= known
