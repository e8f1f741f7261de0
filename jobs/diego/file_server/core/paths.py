"""Which file a request means."""

import re


class RefusedPath(Exception):
    """The path must not be looked at."""


def relative_path(asked: str) -> str:
    """The file's place below the static directory, from the decoded rest of the URL's path.

    Raises:
        RefusedPath: it would lead upwards, or is no path at all.
    """
    parts = re.split(r"[/\\]", asked)
    if ".." in parts or "\0" in asked:
        raise RefusedPath(asked)
    return "/".join(part for part in asked.split("/") if part not in {"", "."})


def base_name(asked: str) -> str:
    """What an error names: the last part of the path, as Go's path.Base has it."""
    return asked.rstrip("/").rpartition("/")[2] or "/"
