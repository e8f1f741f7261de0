"""Why something found no place, in the words that people and the Cloud Controller read.

To the letter contract/auction.md section 6: callers classify by these texts.
"""

from collections.abc import Iterable, Sequence

NO_CELL_ANSWERS = "unable to communicate to compatible cells"
NO_ROOTFS = "found no compatible cell for required rootfs"
NO_VOLUME_DRIVERS = "found no compatible cell with required volume drivers"
TOO_MANY_STARTING = "waiting to start instance: reached in-flight start limit"


def no_placement_tags(tags: Sequence[str]) -> str:
    """No cell is for work with exactly these tags."""
    quoted = [f'"{tag}"' for tag in tags]
    if not quoted:
        return "found no compatible cell with no placement tags"
    if len(quoted) == 1:
        return f"found no compatible cell with placement tag {quoted[0]}"
    return f"found no compatible cell with placement tags {', '.join(quoted[:-1])} and {quoted[-1]}"


def insufficient_resources(problems: Iterable[str]) -> str:
    """`problems`: what every cell that was looked at lacks."""
    named = ", ".join(sorted(problems))
    return f"insufficient resources: {named}" if named else "insufficient resources"


def handed_back(cell_id: str) -> str:
    """The chosen cell did not take it. Cells do not say why; nearly always their room went meanwhile."""
    return f"insufficient resources: cell {cell_id} handed the work back"


def of_unknown_fate(cell_id: str, error: str) -> str:
    """Told to nobody but who asks for an explanation: the work may run or not, and convergence will see."""
    return f"cell {cell_id} did not say whether it took the work: {error}"
