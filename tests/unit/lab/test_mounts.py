from pathlib import Path

from lab.mounts import mounts_below

MOUNTS = """\
20 1 0:1 / / rw - ext4 /dev/vda rw
21 20 0:2 / /labs/dev/root rw - overlay overlay rw
22 21 0:3 / /labs/dev/root/data rw - ext4 /dev/vda rw
23 20 0:4 / /labs/developer rw - tmpfs tmpfs rw
"""


def test_the_innermost_mount_comes_first() -> None:
    assert mounts_below(Path("/labs/dev"), MOUNTS) == ["/labs/dev/root/data", "/labs/dev/root"]


def test_a_directory_with_a_longer_name_is_another_one() -> None:
    assert "/labs/developer" not in mounts_below(Path("/labs/dev"), MOUNTS)
