"""The hosts of a lab, read from an Ansible inventory in INI form."""

import re
from pathlib import Path

from lab.identity import LabError

RANGE = re.compile(r"(.*)\[(\d+):(\d+)\](.*)")


def groups_of(inventory: Path) -> dict[str, list[str]]:
    """The hosts of each group, both in the order of the file; `cell-[0:2]` stands for three.

    Raises:
        LabError: the file cannot be read.

    """
    try:
        lines = inventory.read_text().splitlines()
    except OSError as error:
        raise LabError(f"{inventory}: {error.strerror}") from error
    groups: dict[str, dict[str, None]] = {}
    section = ""
    for line in (line.split("#")[0].strip() for line in lines):
        if line.startswith("["):
            section = line.strip("[]")
        elif line and ":" not in section:  # sections such as [all:vars] hold no hosts
            groups.setdefault(section, {}).update(dict.fromkeys(_expand(line.split()[0])))
    return {group: list(hosts) for group, hosts in groups.items()}


def hosts_of(inventory: Path) -> list[str]:
    """The names of all hosts in the order they first appear.

    Raises:
        LabError: the file cannot be read or names no host.

    """
    names = dict.fromkeys(host for hosts in groups_of(inventory).values() for host in hosts)
    if not names:
        raise LabError(f"{inventory}: no hosts")
    return list(names)


def _expand(name: str) -> list[str]:
    match = RANGE.fullmatch(name)
    if not match:
        return [name]
    before, first, last, after = match.groups()
    return [f"{before}{number:0{len(first)}}{after}" for number in range(int(first), int(last) + 1)]
