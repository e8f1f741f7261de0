"""The OCI documents that the runtime gets: a container's config.json, a process for exec.

What is isolated, and how, is decided here and nowhere else (contract/garden.md
section 8, with the id map of this project: container ids 0-65535 are 100000 and up
on the host).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diego.garden.core.limits import CPU_PERIOD_US, cpu_quota, cpu_weight
from diego.garden.core.specs import BindMount, Limits
from diego.garden.core.users import User

# what a pea shares with its container, and the names of these below /proc/PID/ns
SHARED = {"user": "user", "pid": "pid", "ipc": "ipc", "uts": "uts", "network": "net"}
INIT = "/tmp/garden-init"  # noqa: S108 - a path in the container, the original's
UMASK = 0o022
CAPABILITIES = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
)
MASKED_PATHS = (
    "/proc/kcore",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/keys",
    "/sys/firmware",
)
# where the original's AppArmor profile denies writing
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
# (type, major, minor): null zero full random urandom tty, pts, ptmx, tun, fuse
DEVICES = (
    ("c", 1, 3),
    ("c", 1, 5),
    ("c", 1, 7),
    ("c", 1, 8),
    ("c", 1, 9),
    ("c", 5, 0),
    ("c", 136, None),
    ("c", 5, 2),
    ("c", 10, 200),
    ("c", 10, 229),
)


@dataclass(frozen=True, slots=True)
class IdMap:
    """Container ids 0 up to `size` are `start` and up on the host."""

    start: int = 100_000
    size: int = 65_536

    def host(self, number: int) -> int:
        """The host's number of a container's id."""
        return self.start + number


@dataclass(frozen=True, slots=True)
class Engine:
    """What is the same for every container of this host."""

    init: str
    ids: IdMap
    seccomp: Mapping[str, Any]
    unified: bool
    limit_swap: bool = True
    cpu_quota_per_share_us: int = 0
    no_new_privileges: bool = False
    nofile: int = 65536
    hard_limits: Mapping[str, int] | None = None  # of this engine; what it may not exceed


def hostname(handle: str) -> str:
    """The container's host name: the handle's last 49 characters."""
    return handle[-49:]


@dataclass(frozen=True, slots=True)
class Root:
    """The file system that a process sees: its root directory, and what is mounted over it.

    `source_options` has for each bind mount's source the options its own file system
    is mounted with: in a user namespace they cannot be taken off, and a mount without
    them would be refused.
    """

    path: str
    hosts: str
    resolv_conf: str
    bind_mounts: Sequence[BindMount] = ()
    source_options: Mapping[str, Sequence[str]] = field(default_factory=dict)


def container(engine: Engine, *, handle: str, cgroup: str, root: Root, limits: Limits) -> dict[str, Any]:
    """A container's config.json: its init sleeps, and everything else comes later by exec.

    Under cgroup version 2 a group with processes of its own cannot divide anything among
    groups below it. So there the limits are on the group above, by `unified_limits`.
    """
    user = User(0, 0, (), "/")
    found = _document(
        engine,
        root,
        engine_mounts=[_bind(engine.init, INIT, writable=False, options=("nosuid", "nodev"))],
        process=process(engine, args=[INIT, "-P"], env=[], user=user, directory="/", rlimits={}),
        namespaces=[{"type": name} for name in ("pid", "ipc", "uts", "mount", "network", "user")],
        cgroup=cgroup,
        limits=Limits() if engine.unified else limits,
    )
    return {**found, "hostname": hostname(handle)}


def pea(
    engine: Engine,
    *,
    container_pid: int,
    cgroup: str,
    root: Root,
    limits: Limits,
    process: Mapping[str, Any],
) -> dict[str, Any]:
    """A pea's config.json: a process with files of its own in the other namespaces of a container."""
    shared = [{"type": kind, "path": f"/proc/{container_pid}/ns/{name}"} for kind, name in SHARED.items()]
    return _document(
        engine,
        root,
        engine_mounts=[],
        process=process,
        namespaces=[{"type": "mount"}, *shared],
        cgroup=cgroup,
        limits=limits,
    )


def _document(
    engine: Engine,
    root: Root,
    *,
    engine_mounts: Sequence[dict[str, Any]],
    process: Mapping[str, Any],
    namespaces: Sequence[dict[str, str]],
    cgroup: str,
    limits: Limits,
) -> dict[str, Any]:
    mounts = [
        *_system_mounts(),
        *engine_mounts,
        _bind(root.hosts, "/etc/hosts", writable=True, options=("nosuid", "nodev", "noexec")),
        _bind(root.resolv_conf, "/etc/resolv.conf", writable=True, options=("nosuid", "nodev", "noexec")),
    ]
    mounts += [
        _bind(
            mount.source,
            mount.destination,
            writable=mount.writable,
            options=root.source_options.get(mount.source, ()),
        )
        for mount in root.bind_mounts
    ]
    ids = [{"containerID": 0, "hostID": engine.ids.start, "size": engine.ids.size}]
    return {
        "ociVersion": "1.0.2",
        "process": dict(process),
        "root": {"path": root.path, "readonly": False},
        "mounts": mounts,
        "linux": {
            "namespaces": list(namespaces),
            "uidMappings": ids,
            "gidMappings": ids,
            "cgroupsPath": cgroup,
            "resources": resources(engine, limits),
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READ_ONLY_PATHS),
            "seccomp": dict(engine.seccomp),
            "rootfsPropagation": "private",
        },
    }


def process(
    engine: Engine,
    *,
    args: Sequence[str],
    env: Sequence[str],
    user: User,
    directory: str,
    rlimits: Mapping[str, int],
) -> dict[str, Any]:
    """A whole process document: nothing is left for the runtime to fill in from elsewhere.

    Root has the container's capabilities; others have them in their bounding set only,
    so that a setuid program in the image works.
    """
    effective = list(CAPABILITIES) if user.uid == 0 else []
    return {
        "terminal": False,
        "user": {
            "uid": user.uid,
            "gid": user.gid,
            "umask": UMASK,
            "additionalGids": list(user.groups),
        },
        "args": list(args),
        "env": list(env),
        "cwd": directory,
        "capabilities": {
            "bounding": list(CAPABILITIES),
            "inheritable": list(CAPABILITIES),
            "effective": effective,
            "permitted": effective,
            "ambient": [],
        },
        "rlimits": _rlimits(engine, rlimits),
        "noNewPrivileges": engine.no_new_privileges,
    }


def resources(engine: Engine, limits: Limits) -> dict[str, Any]:
    """The cgroup's limits; memory has no swap beside it, so that the limit is one."""
    found: dict[str, Any] = {
        "devices": [{"allow": False, "access": "rwm"}, *_device_rules()],
    }
    if limits.memory:
        found["memory"] = {"limit": limits.memory}
        if engine.limit_swap:
            found["memory"]["swap"] = limits.memory
    if limits.pids:
        found["pids"] = {"limit": limits.pids}
    cpu: dict[str, int] = {}
    if limits.cpu_shares and not engine.unified:
        cpu["shares"] = max(2, limits.cpu_shares)
    quota = cpu_quota(limits.cpu_shares, engine.cpu_quota_per_share_us)
    if quota:
        cpu.update(quota=quota, period=CPU_PERIOD_US)
    if cpu:
        found["cpu"] = cpu
    if limits.cpu_shares and engine.unified:
        found["unified"] = {"cpu.weight": str(cpu_weight(limits.cpu_shares))}
    return found


def unified_limits(engine: Engine, limits: Limits) -> dict[str, str]:
    """The files of a container's own group under cgroup version 2, and what belongs into them."""
    files: dict[str, str] = {}
    if limits.memory:
        files["memory.max"] = str(limits.memory)
        if engine.limit_swap:
            files["memory.swap.max"] = "0"
    if limits.pids:
        files["pids.max"] = str(limits.pids)
    if limits.cpu_shares:
        files["cpu.weight"] = str(cpu_weight(limits.cpu_shares))
    quota = cpu_quota(limits.cpu_shares, engine.cpu_quota_per_share_us)
    if quota:
        files["cpu.max"] = f"{quota} {CPU_PERIOD_US}"
    return files


def _device_rules() -> list[dict[str, Any]]:
    rules: list[dict[str, Any]] = [
        {"allow": True, "type": kind, "access": "m"}
        for kind in ("c", "b")  # a node may be made, not opened
    ]
    for kind, major, minor in DEVICES:
        rule = {"allow": True, "type": kind, "major": major, "access": "rwm"}
        rules.append(rule if minor is None else {**rule, "minor": minor})
    return rules


def _rlimits(engine: Engine, wanted: Mapping[str, int]) -> list[dict[str, Any]]:
    """Limits of the process, not above what this engine itself may give."""
    hard = engine.hard_limits or {}
    values = {"nofile": engine.nofile, **wanted}
    return [
        {"type": f"RLIMIT_{name.upper()}", "soft": value, "hard": value}
        for name, value in ((name, min(value, hard.get(name, value))) for name, value in values.items())
    ]


def _bind(source: str, destination: str, *, writable: bool, options: Sequence[str]) -> dict[str, Any]:
    return {
        "destination": destination,
        "type": "bind",
        "source": source,
        "options": ["bind", "rw" if writable else "ro", *options],
    }


def _system_mounts() -> list[dict[str, Any]]:
    return [
        _mount("/proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount(
            "/dev/pts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"
        ),
        _mount("/dev/shm", "tmpfs", "nosuid", "noexec", "nodev", "mode=1777"),  # noqa: S108 - of the container
        _mount("/dev/mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
    ]


def _mount(destination: str, kind: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": list(options)}
