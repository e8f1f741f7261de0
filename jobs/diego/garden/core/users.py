"""Who a process runs as, from the container's own passwd and group files.

The C library is not asked: it would read the host's files, and in the container's
namespace load whatever the container names in its nsswitch.conf.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from diego.garden.errors import GardenError


@dataclass(frozen=True, slots=True)
class User:
    """A user in the container's own numbers."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/"


@dataclass(frozen=True, slots=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


def resolve(spec: str, *, passwd: str | None, group: str | None) -> User:
    """The user that `name`, `uid`, `name:group` or `uid:gid` means; an empty text is root.

    Args:
        spec: the text of the request.
        passwd: the content of /etc/passwd, None if the container has none.
        group: the content of /etc/group, likewise.

    Raises:
        GardenError: an unknown name.
    """
    wanted_user, _, wanted_group = (spec or "root").partition(":")
    account = _find_account(wanted_user, passwd)
    if wanted_group:
        return User(account.uid, _find_group(wanted_group, group or ""), (), account.home)
    groups = tuple(
        gid for _, gid, members in _groups(group or "") if account.name and account.name in members
    )
    return User(account.uid, account.gid, groups, account.home)


def _find_account(wanted: str, passwd: str | None) -> _Account:
    number = int(wanted) if wanted.isascii() and wanted.isdigit() else None
    for account in _accounts(passwd or ""):
        if account.name == wanted or account.uid == number:
            return account
    if number is not None:
        return _Account("", number, 0, "/")
    if wanted == "root" and passwd is None:
        return _Account("root", 0, 0, "/")
    raise GardenError(f"unable to find user {wanted}: no matching entries in passwd file")


def _find_group(wanted: str, group: str) -> int:
    number = int(wanted) if wanted.isascii() and wanted.isdigit() else None
    for name, gid, _ in _groups(group):
        if name == wanted or gid == number:
            return gid
    if number is not None:
        return number
    raise GardenError(f"unable to find group {wanted}: no matching entries in group file")


def _accounts(passwd: str) -> Iterator[_Account]:
    for line in passwd.splitlines():
        parts = line.split(":")
        if len(parts) >= 6 and parts[2].isdigit() and parts[3].isdigit():
            yield _Account(parts[0], int(parts[2]), int(parts[3]), parts[5] or "/")


def _groups(group: str) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    for line in group.splitlines():
        parts = line.split(":")
        if len(parts) >= 4 and parts[2].isdigit():
            yield parts[0], int(parts[2]), tuple(parts[3].split(","))
