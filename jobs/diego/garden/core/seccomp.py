"""Which system calls a container may make (contract/garden.md section 8).

`seccomp.json` lists what is allowed and what is refused with EPERM. What stands in
neither list is newer than the lists: it answers ENOSYS, so that a C library tries
the older call instead of giving up.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

EPERM, ENOSYS = 1, 38
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
NAMESPACE_FLAGS = (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000)
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# Not x32, which hardly anybody uses: each one makes every start of a process slower.
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}


def load_profile(machine: str) -> dict[str, Any]:
    """The profile of unprivileged containers on this architecture."""
    text = resources.files(__package__).joinpath("seccomp.json").read_text()
    lists = json.loads(text)
    return profile(lists["allowed"], lists["refused"], machine)


def profile(allowed: Sequence[str], refused: Sequence[str], machine: str) -> dict[str, Any]:
    """An OCI seccomp document.

    `clone` is allowed without namespace flags only. `clone3` hides its flags behind a
    pointer, so it answers ENOSYS and libc falls back to `clone`.
    """
    everyday = [_allow(allowed)]
    clone = [_allow(["clone"], _argument(0, "MASKED_EQ", sum(NAMESPACE_FLAGS), 0))]
    clone += [_refuse(["clone"], EPERM, _argument(0, "MASKED_EQ", flag, flag)) for flag in NAMESPACE_FLAGS]
    clone3 = [_refuse(["clone3"], ENOSYS)]
    personality = [_allow(["personality"], _argument(0, "EQ", value)) for value in PERSONALITIES]
    return {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": ENOSYS,
        "architectures": list(ARCHITECTURES[machine]),
        "syscalls": [*everyday, *clone, *clone3, *personality, _refuse(refused, EPERM)],
    }


def _allow(names: Sequence[str], *arguments: dict[str, Any]) -> dict[str, Any]:
    return {"names": list(names), "action": "SCMP_ACT_ALLOW", "args": list(arguments)}


def _refuse(names: Sequence[str], errno: int, *arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "names": list(names),
        "action": "SCMP_ACT_ERRNO",
        "errnoRet": errno,
        "args": list(arguments),
    }


def _argument(index: int, operator: str, value: int, second: int = 0) -> dict[str, Any]:
    return {"index": index, "value": value, "valueTwo": second, "op": f"SCMP_CMP_{operator}"}
