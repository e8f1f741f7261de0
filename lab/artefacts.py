"""What the lab is made from: root file systems of Debian packages, and the hosts' Python packages.

Packages come through the machine's own apt sources and pip configuration; nothing here names a server.
"""

import hashlib
import os
import platform
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path

from lab.cache import Artefact, Cache
from lab.host import machine_resolvers
from lab.identity import LabError
from lab.shell import run, run_logged

SUITE = "bookworm"
CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
HOSTS_TXT = CHECKOUT / "requirements/hosts.txt"

HOSTS_PYTHON = "3.11"
"""The minor version of the hosts' Python: it decides which wheels fit."""
HOSTS_PLATFORM = (
    *("--python-version", HOSTS_PYTHON, "--implementation", "cp"),
    *("--abi", "cp311", "--abi", "abi3", "--abi", "none"),
    *("--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64"),
    *("--platform", "manylinux_2_17_x86_64"),
)
"""What pip is told when the controller's Python or system is another one than the hosts'."""

BASE_PACKAGES = (
    # what makes it a machine that Ansible can be pointed at
    *(
        [
            "ca-certificates",
            "openssh-server",
            "sudo",
            "supervisor",
            "python3",
            "python3-apt",
            "python3-venv",
            "python3-pip",
        ]
    ),
    # what a person or a test looks with
    *(["curl", "iproute2", "iputils-ping", "jq", "less", "lsof", "procps", "socat"]),
    # what the container engine needs
    *(["runc", "nftables", "catatonit", "e2fsprogs", "kmod", "util-linux"]),
)
SERVICE_PACKAGES = (
    "mariadb-server-core",
    "mariadb-client-core",
    "mariadb-backup",
    "galera-4",
    "nats-server",
    "nginx-light",
    "libnginx-mod-http-lua",
    "lua-cjson",
    "dnsmasq-base",
)
STACK_PACKAGES = ("bash", "curl", "netcat-openbsd", "python3", "ca-certificates")
APP_USER = "useradd --create-home --uid 2000 --shell /bin/bash vcap"
NO_SERVICES = (
    'printf \'#!/bin/sh\\nexit 101\\n\' > "$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"'
)
"""Packages must not try to start services: a host has no init system."""


def apt_sources() -> Path | None:
    """The file with the machine's Debian sources; None leaves it to mmdebstrap's default."""
    for path in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if path.exists() and any(_names_a_source(line) for line in path.read_text().splitlines()):
            return path
    return None


def _names_a_source(line: str) -> bool:
    return line.startswith(("deb ", "URIs:"))


def _archive() -> dict[str, str]:
    """What decides which versions come from the archive. They are taken anew each week, for security updates."""
    sources = apt_sources()
    year, week, _ = datetime.now(UTC).isocalendar()
    return {
        "suite": SUITE,
        "sources": sources.read_text() if sources else "",
        "week": f"{year}-{week:02}",
        "architecture": platform.machine(),
    }


def _mmdebstrap(packages: tuple[str, ...], hooks: tuple[str, ...], target: Path, log: Path) -> None:
    words: list[object] = ["mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"]
    words += [f"--customize-hook={hook}" for hook in hooks]
    words += [SUITE, target]
    sources = apt_sources()
    run_logged(f"mmdebstrap for {target.name}", [*words, *([sources] if sources else [])], log)


def base(cache: Cache) -> Artefact:
    """A host's root file system."""
    hooks = (NO_SERVICES,)

    def make(directory: Path) -> None:
        target = directory / "rootfs"
        target.mkdir()
        _mmdebstrap(BASE_PACKAGES, hooks, target, cache.log("base"))
        target.chmod(0o755)

    parts = {**_archive(), "packages": BASE_PACKAGES, "hooks": hooks}
    return Artefact("base", parts, make, takes="35 s", by_content=False)


def services(cache: Cache, below: Artefact) -> Artefact:
    """A layer over the base with the distribution's servers."""
    install = "apt-get update -q && apt-get install -qy --no-install-recommends"
    script = f"{install} {' '.join(SERVICE_PACKAGES)}"

    def make(directory: Path) -> None:
        lower = cache.find(below)
        if lower is None:
            raise LabError("the services layer needs the base, which is not in the cache")
        _install_in_layer(lower / "rootfs", directory, script, cache.log("services"))

    parts = {"base": below.key, "script": script}
    return Artefact("services", parts, make, takes="15 s", by_content=False)


def _install_in_layer(lower: Path, directory: Path, script: str, log: Path) -> None:
    """Install packages in a change root over `lower`; what they add is left in `directory`/layer."""
    layer, work, build = (directory / name for name in ("layer", "work", "build"))
    for path in (layer, work, build):
        path.mkdir()
    layer.chmod(0o755)
    mounted: list[Path] = []
    try:
        options = f"lowerdir={lower},upperdir={layer},workdir={work}"
        run("mount", "-t", "overlay", "overlay", "-o", options, build)
        mounted.append(build)
        run("mount", "-t", "proc", "proc", build / "proc")
        mounted.append(build / "proc")
        for unwanted in ("run", "var/lib/apt/lists", "var/cache/apt"):
            run("mount", "-t", "tmpfs", "tmpfs", build / unwanted)
            mounted.append(build / unwanted)
        (build / "etc/resolv.conf").write_text(machine_resolvers())
        environment = ("env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C")
        run_logged("installing the services", ["chroot", build, *environment, "sh", "-c", script], log)
    finally:
        for path in reversed(mounted):
            run("umount", path)
    shutil.rmtree(work)
    build.rmdir()


def stack(cache: Cache) -> Artefact:
    """The root file system of apps, as a tar file."""
    hooks = (f'chroot "$1" {APP_USER}',)

    def make(directory: Path) -> None:
        tar = directory / "rootfs.tar"
        _mmdebstrap(STACK_PACKAGES, hooks, tar, cache.log("stack"))
        with tar.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        (directory / "sha256").write_text(f"{digest}\n")

    return Artefact("stack", {**_archive(), "packages": STACK_PACKAGES, "hooks": hooks}, make, takes="25 s")


def wheelhouse(cache: Cache) -> Artefact:
    """The hosts' locked Python packages as wheels that fit the hosts, whatever the controller is."""
    here = run(
        VENV / "bin/python", "-c", "import platform as p; print(p.system(), p.machine(), p.python_version())"
    )
    alike = here.startswith(f"Linux x86_64 {HOSTS_PYTHON}.")

    def make(directory: Path) -> None:
        words: list[object] = [VENV / "bin/python", "-m", "pip", "download", "--quiet"]
        words += ["--disable-pip-version-check", "--require-hashes", "--only-binary=:all:", "--no-deps"]
        words += [*(() if alike else HOSTS_PLATFORM), "-r", HOSTS_TXT, "--dest", directory]
        run_logged("fetching the wheels", words, cache.log("wheelhouse"))

    parts = {"locked": HOSTS_TXT.read_text(), "python": HOSTS_PYTHON, "platform": "linux x86_64"}
    return Artefact("wheelhouse", parts, make, takes="10 s")


def needs_root() -> None:
    """Say in one line what is missing, before anything is begun.

    Raises:
        LabError: not Linux, or not root.

    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LabError("the lab needs Linux and root; elsewhere `vagrant up` makes the same lab")
