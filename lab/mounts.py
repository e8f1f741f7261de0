"""What is mounted below a directory, and its end."""

from pathlib import Path

from lab.shell import run


def mounts_below(directory: Path, mountinfo: str | None = None) -> list[str]:
    """Mount points at or below a directory, the innermost first."""
    if mountinfo is None:
        known = Path("/proc/self/mountinfo")  # Linux alone has it, and only there does the lab mount anything
        mountinfo = known.read_text() if known.exists() else ""
    points = [line.split(" ")[4] for line in mountinfo.splitlines()]
    return [point for point in reversed(points) if Path(point).is_relative_to(directory)]


def unmount_below(directory: Path) -> None:
    """Unmount all that a dead command may have left there."""
    for point in mounts_below(directory):
        run("umount", point)
