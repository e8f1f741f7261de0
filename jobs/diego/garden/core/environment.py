"""The environment of a process: image, container, process, then defaults (contract/garden.md section 5.1)."""

from __future__ import annotations

from collections.abc import Iterable

PATH_OF_ROOT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PATH_OF_OTHERS = "/usr/local/bin:/usr/bin:/bin"


def merged(*layers: Iterable[str]) -> list[str]:
    """All entries in order; of a repeated name the last value stands, at the place of the first."""
    values: dict[str, str] = {}
    for layer in layers:
        for entry in layer:
            name, _, value = entry.partition("=")
            values[name] = value
    return [f"{name}={value}" for name, value in values.items()]


def of_process(
    *, image: Iterable[str], container: Iterable[str], process: Iterable[str], user: str, uid: int, home: str
) -> list[str]:
    """A process's whole environment.

    `user` is the spec's text as given: `USER` repeats it even when it is a number.
    """
    entries = merged(image, container, process)
    names = {entry.partition("=")[0] for entry in entries}
    defaults = {
        "PATH": PATH_OF_OTHERS if uid else PATH_OF_ROOT,
        "USER": user or "root",
        "HOME": home,
    }
    return entries + [f"{name}={value}" for name, value in defaults.items() if name not in names]
