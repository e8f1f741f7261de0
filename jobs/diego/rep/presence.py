"""How the cell is seen in Locket: its presence and the identity that owns it (contract/rep.md section 3)."""

import socket
import tarfile
import uuid
from pathlib import Path

from diego.executor.core.resources import Room
from diego.models.cell import CellPresence
from diego.rep.config import RepConfig
from diego.runtime.config import split_address

OWNER_FILE = "presence-owner"
STACK_VERSION = "etc/stack-version"
OUTSIDE = ("192.0.2.1", 9)
"""An address of documentation: nothing is sent there, it only shows which of ours leads out."""


def owner(store: Path) -> str:
    """A UUID that outlives the process, so that a restarted rep has its presence back at once (ours.md section 3)."""
    path = store / OWNER_FILE
    try:
        return str(uuid.UUID(path.read_text().strip()))
    except (FileNotFoundError, ValueError):
        new = str(uuid.uuid4())
        beside = path.with_suffix(".new")
        beside.write_text(new)
        beside.replace(path)
        return new


def presence(config: RepConfig, total: Room, stacks: tuple[str, ...]) -> CellPresence:
    """What Locket is told; `stacks` as `stack_names` gives them."""
    return CellPresence(
        cell_id=config.cell_id,
        rep_address=f"http://{local_address()}:{split_address(config.listen_addr)[1]}",
        zone=config.zone,
        memory_mb=total.memory_mb,
        disk_mb=total.disk_mb,
        containers=total.containers,
        rootfs_providers=(
            ("preloaded", stacks),
            ("preloaded+layer", stacks),
            *((scheme, ()) for scheme in config.supported_providers),
        ),
        placement_tags=tuple(config.placement_tags),
        optional_placement_tags=tuple(config.optional_placement_tags),
        rep_url=rep_url(config),
    )


def rep_url(config: RepConfig) -> str:
    """Where callers reach the securable listener."""
    host = f"{config.cell_id.replace('_', '-')}.{config.advertise_domain}"
    return f"https://{host}:{split_address(config.listen_addr_securable)[1]}"


def stack_names(stacks: dict[str, str]) -> tuple[str, ...]:
    """The stacks' names, each with its version where its tar tells one. Reads the tars; blocks."""
    return tuple(
        f"{name}@{version}" if (version := _version(path)) else name for name, path in stacks.items()
    )


def _version(path: str) -> str:
    """The text of the stack's version file, looked for among the first members of its tar."""
    try:
        with tarfile.open(path) as source:
            for member in source:
                if member.name.lstrip("./") == STACK_VERSION:
                    file = source.extractfile(member)
                    return file.read(256).decode(errors="replace").strip() if file else ""
    except (OSError, tarfile.TarError):
        return ""
    return ""


def local_address() -> str:
    """The cell's address towards the world, loopback when it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(OUTSIDE)
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
