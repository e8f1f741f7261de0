"""Carries out what core/network.py has decided: `ip` and `nft` run here, each once per container."""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
from collections.abc import Collection
from pathlib import Path

from diego.garden.core import network
from diego.garden.core.network import Link, Policy
from diego.garden.errors import GardenError

SECONDS = 30.0
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
LARGEST_MTU = 1500
SIOCGIFMTU = 0x8921


class Links:
    """The containers' links and rules on this host."""

    def __init__(self, policy: Policy, gateway: str, mtu: int) -> None:
        self._policy = policy
        self._gateway = gateway
        self._mtu = mtu or host_mtu()

    def prepare(self, living: Collection[Link]) -> None:
        """Put forwarding, rules and links in order: what the living containers need, and no more."""
        FORWARDING.write_text("1\n")
        kept = {link.interface for link in living}
        for name in our_interfaces():
            if name not in kept:
                _ip(f"link del {name}\n")
        _nft(network.table_script(self._policy, list(living)))

    def connect(self, link: Link, pid: int) -> None:
        """Give the container of this init its link, address and ports."""
        _ip(network.link_commands(link, gateway=self._gateway, pid=pid, mtu=self._mtu))
        _ip(network.inside_commands(link, gateway=self._gateway), netns_of=pid)
        _nft(network.add_script(self._policy, link))

    def add_ports(self, link: Link) -> None:
        """Map further ports of a connected container: those of `link`."""
        _nft(network.add_script(self._policy, link))

    def disconnect(self, link: Link) -> None:
        """Undo `connect`, or as much of it as was done."""
        script = network.remove_script(self._policy, link)
        if script:
            try:
                _nft(script)
            except GardenError:
                # some of it was never made: undo what was, piece by piece
                for line in script.splitlines():
                    _run(["nft", "-f", "-"], line + "\n")
        if interface_exists(link.interface):
            _run(["ip", "link", "del", link.interface], "")

    def counters(self, link: Link) -> tuple[int, int] | None:
        """Bytes that the container received and sent; None if it has no link."""
        for line in Path("/proc/net/dev").read_text().splitlines():
            name, _, numbers = line.partition(":")
            if name.strip() == link.interface:
                received, sent = (int(numbers.split()[column]) for column in (0, 8))
                return sent, received  # what the host's end sends is what the container receives
        return None

    def remove_all(self) -> None:
        """Take the rules away."""
        _nft(network.remove_table_script(self._policy))


def our_interfaces() -> list[str]:
    """The host ends of containers' links."""
    listing = _run(["ip", "-j", "link", "show", "group", str(network.LINK_GROUP)], "").stdout
    return [str(link["ifname"]) for link in json.loads(listing or b"[]") if "ifname" in link]


def interface_exists(name: str) -> bool:
    """Whether the host has an interface of this name."""
    return any(found == name for _, found in socket.if_nameindex())


def external_address() -> str:
    """The host's address towards the world; loopback if it has no other."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # nothing is sent: the kernel only chooses a source
            return str(probe.getsockname()[0])
        except OSError:
            pass
    listing = json.loads(_run(["ip", "-j", "-4", "addr"], "").stdout or b"[]")
    for interface in listing:
        if interface.get("group") == str(network.LINK_GROUP):
            continue
        for address in interface.get("addr_info", []):
            if address.get("scope") == "global":
                return str(address["local"])
    return "127.0.0.1"


def host_mtu() -> int:
    """The largest packet of the interface that leads out, at most 1500."""
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        name, destination = line.split()[:2]
        if destination == "00000000":
            return min(LARGEST_MTU, _mtu_of(name))
    return LARGEST_MTU


def _mtu_of(interface: str) -> int:
    """A struct ifreq: the name in 16 bytes, then the number."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, SIOCGIFMTU, struct.pack("=16si12x", interface.encode(), 0))
    return int(struct.unpack("=16si12x", answer)[1])


def _ip(commands: str, *, netns_of: int | None = None) -> None:
    enter = ["nsenter", f"--net=/proc/{netns_of}/ns/net"] if netns_of else []
    done = _run([*enter, "ip", "-batch", "-"], commands)
    if done.returncode:
        raise GardenError(f"network: {done.stderr.decode(errors='replace').strip()}")


def _nft(script: str) -> None:
    if not script:
        return
    done = _run(["nft", "-f", "-"], script)
    if done.returncode:
        raise GardenError(f"network rules: {done.stderr.decode(errors='replace').strip()}")


def _run(command: list[str], text: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=text.encode(), capture_output=True, check=False, timeout=SECONDS)
