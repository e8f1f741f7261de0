"""One host of the lab: its disk, its boot, and its power."""

import os
import shlex
import signal
import socket
import stat
import subprocess
import time
from pathlib import Path

from lab import network
from lab.cgroups import Cgroups
from lab.identity import HostIdentity, Lab, LabError
from lab.shell import run

STORAGE = ("var/vcap/data", "var/vcap/store")
"""Bind mounts from a real file system: an overlay cannot be the upper directory of containers' overlays."""
LOOP_NODES = 512
"""Loop devices are the machine's, shared by all hosts; a host's /dev has nodes for so many."""
SSH_WITHIN = 30.0
GONE_WITHIN = 10.0
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Runs as PID 1 of the host. $1: the mounted disk, $2: the host's name, $3: loop device nodes.
INIT = r"""#!/bin/sh
set -e
R=$1 NAME=$2 LOOPS=$3

mount --make-rprivate /
mount --rbind "$R" "$R"
mount -t proc proc "$R/proc"
mount -t sysfs sysfs "$R/sys"

# /dev: the machine's harmless nodes, tun and loop devices, a devpts of its own
mount -t tmpfs -o mode=755 tmpfs "$R/dev"
for n in null zero full random urandom tty fuse; do
    if [ -e /dev/$n ]; then
        touch "$R/dev/$n"
        mount --bind /dev/$n "$R/dev/$n"
    fi
done
mkdir -p "$R/dev/pts" "$R/dev/shm" "$R/dev/net" "$R/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$R/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$R/dev/shm"
mknod "$R/dev/net/tun" c 10 200
cp -a "$LOOPS/." "$R/dev/"
ln -s pts/ptmx "$R/dev/ptmx"
ln -s /proc/self/fd "$R/dev/fd"
ln -s /proc/self/fd/0 "$R/dev/stdin"
ln -s /proc/self/fd/1 "$R/dev/stdout"
ln -s /proc/self/fd/2 "$R/dev/stderr"

# /run is empty at boot: stale files there, such as /run/netns, break container runtimes
mount -t tmpfs -o mode=755 tmpfs "$R/run"
mkdir -p "$R/run/sshd" "$R/run/lock"

{cgroups}

hostname "$NAME"
cd "$R"
mkdir -p .old
pivot_root . .old
umount -l /.old
exec /usr/bin/env -i HOME=/root PATH={path} \
    /usr/bin/supervisord -n -c /etc/supervisor/supervisord.conf
"""


class Host:
    """A host on this machine, running or not."""

    def __init__(self, identity: HostIdentity, cgroups: Cgroups) -> None:
        self.identity = identity
        self.cgroups = cgroups
        self.directory = identity.directory
        self.root = identity.root

    def up(self, layers: list[Path]) -> None:
        """Mount the host's disk, a new one or the one it had, and switch the power on."""
        self._mount(layers)
        self._configure()
        self.start()

    def start(self) -> None:
        """Switch the power on; returns when the host's sshd answers.

        Raises:
            LabError: the disk is not mounted, the host runs already, or it does not come up.

        """
        if not self.root.is_mount():
            raise LabError(f"{self.identity.name}: its disk is not mounted")
        if self.runs():
            raise LabError(f"{self.identity.name} runs already")
        self.cgroups.make(self.identity)
        network.connect(self.identity)
        process = self._boot()
        self.cgroups.set_aside(self.identity, process.pid)
        self._await_ssh(process)

    def kill(self) -> None:
        """Cut the power: every process dies, memory and network go, the disk stays.

        The cable goes first. Dying processes close their sockets, and peers must not see that.
        """
        network.unplug(self.identity)
        self.cgroups.wake(self.cgroups.of_host(self.identity))
        process = self.process()
        if process is not None:
            os.kill(process, signal.SIGKILL)  # unshare --kill-child: the init dies with it, and all below
            _await_end(process)
        self.cgroups.kill(self.cgroups.of_host(self.identity))
        network.disconnect(self.identity)

    def pause(self) -> None:
        """Stop every process where it is, containers' too. The kernel goes on: it accepts connections for them."""
        self.cgroups.freeze(self.cgroups.of_host(self.identity), frozen=True)

    def resume(self) -> None:
        """Let a paused host go on as if nothing had been."""
        self.cgroups.freeze(self.cgroups.of_host(self.identity), frozen=False)

    def runs(self) -> bool:
        return bool(self.cgroups.processes(self.cgroups.of_host(self.identity)))

    def process(self) -> int | None:
        """The process on the machine whose end is the host's; None if it is gone."""
        try:
            pid = int((self.directory / "pid").read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self.root).encode() in command else None  # else the number was used again

    def _mount(self, layers: list[Path]) -> None:
        upper, work = self.directory / "upper", self.directory / "work"
        for directory in (upper, work, self.root):
            directory.mkdir(parents=True, exist_ok=True)
        if not self.root.is_mount():
            lower = ":".join(str(layer) for layer in layers)
            # volatile: nothing of it is worth waiting for the machine's disk. What must be durable is in STORAGE
            options = f"lowerdir={lower},upperdir={upper},workdir={work},volatile"
            run("mount", "-t", "overlay", "overlay", "-o", options, self.root)
        for path in STORAGE:
            kept, seen = self.directory / "storage" / path, self.root / path
            kept.mkdir(parents=True, exist_ok=True)
            seen.mkdir(parents=True, exist_ok=True)
            if not seen.is_mount():
                run("mount", "--bind", kept, seen)

    def _configure(self) -> None:
        """Give a new disk its name, resolver, key, and an sshd under the init."""
        etc, ssh = self.root / "etc", self.root / "root/.ssh"
        if (etc / "hostname").exists() and (ssh / "authorized_keys").exists():
            return
        name = self.identity.name
        (etc / "hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n")
        (etc / "resolv.conf").unlink(missing_ok=True)
        (etc / "resolv.conf").write_text(machine_resolvers())
        (etc / "supervisor/conf.d/sshd.conf").write_text(
            "[program:sshd]\ncommand=/usr/sbin/sshd -D -e\nautorestart=true\n"
        )
        (etc / "hostname").write_text(f"{name}\n")
        ssh.mkdir(mode=0o700, parents=True, exist_ok=True)
        authorized = ssh / "authorized_keys"
        authorized.write_text(self.identity.lab.key.with_suffix(".pub").read_text())
        authorized.chmod(0o600)

    def _boot(self) -> subprocess.Popen[bytes]:
        init = self.directory / "init.sh"
        init.write_text(INIT.replace("{cgroups}", self.cgroups.inside()).replace("{path}", PATH))
        words: list[object] = ["ip", "netns", "exec", network.namespace(self.identity), "unshare"]
        words += ["--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork", "--kill-child"]
        words += ["--propagation", "private", "sh", init, self.root, self.identity.name]
        words += [self.identity.lab.directory / "loops"]
        command = shlex.join(str(word) for word in words)
        with (self.directory / "log").open("a") as log:
            process = subprocess.Popen(
                ["sh", "-c", f"{self.cgroups.joining(self.identity)} exec {command}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )
        (self.directory / "pid").write_text(str(process.pid))
        return process

    def _await_ssh(self, process: subprocess.Popen[bytes]) -> None:
        log = self.directory / "log"
        deadline = time.monotonic() + SSH_WITHIN
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise LabError(f"{self.identity.name} died at boot: {log.read_text()[-800:]}")
            try:
                socket.create_connection((str(self.identity.address), 22), timeout=1).close()
                return
            except OSError:
                time.sleep(0.05)
        raise LabError(
            f"{self.identity.name}: no sshd on {self.identity.address} within {SSH_WITHIN:.0f} s, see {log}"
        )


def _await_end(process: int) -> None:
    deadline = time.monotonic() + GONE_WITHIN
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return  # the parent that started it reaps it
        time.sleep(0.02)


def machine_resolvers() -> str:
    """The machine's resolv.conf as a host can use it: not through a stub on the machine's loopback."""
    text = Path("/etc/resolv.conf").read_text()
    behind_stub = Path("/run/systemd/resolve/resolv.conf")
    if "nameserver 127." in text and behind_stub.exists():
        return behind_stub.read_text()
    return text


def make_key(lab: Lab) -> None:
    if not lab.key.exists():
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", lab.cgroup, "-f", lab.key)


def make_loop_nodes(lab: Lab) -> None:
    """Make the nodes of the machine's loop devices, for the hosts to copy: their /dev is no devtmpfs."""
    nodes = lab.directory / "loops"
    if nodes.exists():
        return
    new = lab.directory / "loops.new"
    new.mkdir(exist_ok=True)
    _make_node(new / "loop-control", stat.S_IFCHR | 0o600, os.makedev(10, 237))
    for number in range(LOOP_NODES):
        _make_node(new / f"loop{number}", stat.S_IFBLK | 0o660, os.makedev(7, number))
    new.rename(nodes)


def _make_node(path: Path, mode: int, device: int) -> None:
    if not path.exists():
        os.mknod(path, mode, device)
