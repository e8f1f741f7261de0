"""Who a process is, by the container's own files (contract/garden.md section 5.1)."""

import pytest

from diego.garden.core.users import User, resolve
from diego.garden.errors import GardenError

PASSWD = """\
root:x:0:0:root:/root:/bin/sh
# a comment
vcap:x:2000:2001::/home/vcap:/bin/bash
broken:x
odd:x:5:6::
"""
GROUP = "root:x:0:\nvcap:x:2001:\naudio:x:29:vcap,root\nvideo:x:44:vcap\n"


@pytest.mark.parametrize(
    ("spec", "user"),
    [
        ("", User(0, 0, (29,), "/root")),
        ("root", User(0, 0, (29,), "/root")),
        ("vcap", User(2000, 2001, (29, 44), "/home/vcap")),
        ("2000", User(2000, 2001, (29, 44), "/home/vcap")),
        ("vcap:audio", User(2000, 29, (), "/home/vcap")),
        ("vcap:77", User(2000, 77, (), "/home/vcap")),
        ("4000", User(4000, 0, (), "/")),
        ("4000:5000", User(4000, 5000, (), "/")),
        ("odd", User(5, 6, (), "/")),
    ],
)
def test_a_user_is_a_name_or_a_number_with_or_without_group(spec: str, user: User) -> None:
    assert resolve(spec, passwd=PASSWD, group=GROUP) == user


def test_an_unknown_name_is_told_to_the_letter() -> None:
    with pytest.raises(GardenError) as raised:
        resolve("nobody", passwd=PASSWD, group=GROUP)

    assert str(raised.value) == "unable to find user nobody: no matching entries in passwd file"


def test_an_unknown_group_is_told() -> None:
    with pytest.raises(GardenError, match="unable to find group wheel"):
        resolve("root:wheel", passwd=PASSWD, group=GROUP)


def test_root_needs_no_passwd_file_and_others_do() -> None:
    assert resolve("root", passwd=None, group=None) == User(0, 0, (), "/")
    assert resolve("12", passwd=None, group=None) == User(12, 0, (), "/")
    with pytest.raises(GardenError, match="unable to find user vcap"):
        resolve("vcap", passwd=None, group=None)
