"""The lab's cables: a bridge per lab, a network namespace and a link per host, and the way out."""

import json
from pathlib import Path

from lab.identity import HostIdentity, Lab, LabError, mac_for, state_directory
from lab.shell import run, succeeds

LINKS = Path("/sys/class/net")
NAMESPACES = Path("/run/netns")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


def namespace(host: HostIdentity) -> str:
    return f"{host.lab.link_prefix}{host.name}"


def make_bridge(lab: Lab) -> None:
    """Make the lab's bridge and let its hosts out, once."""
    if (LINKS / lab.bridge).exists():
        return
    _refuse_taken_subnet(lab)
    run("ip", "link", "add", lab.bridge, "address", mac_for(lab.gateway), "type", "bridge")
    run("ip", "addr", "add", f"{lab.gateway}/{lab.subnet.prefixlen}", "dev", lab.bridge)
    run("ip", "link", "set", lab.bridge, "up")
    rules = f"""
        table ip {lab.table} {{
            chain out {{
                type nat hook postrouting priority srcnat;
                ip saddr {lab.subnet} oifname != "{lab.bridge}" masquerade
            }}
        }}"""
    run("nft", "-f", "-", stdin=rules)
    _remember_forwarding()
    FORWARD.write_text("1\n")


def _refuse_taken_subnet(lab: Lab) -> None:
    for link in json.loads(run("ip", "-json", "-4", "addr", "show")):
        for address in link.get("addr_info", ()):
            if address.get("local") == str(lab.gateway):
                raise LabError(
                    f"{lab.gateway}, the address of the lab {lab.name}, is taken by {link['ifname']}: "
                    "choose another name for the lab"
                )


def remove_bridge(lab: Lab) -> None:
    """Remove the lab's bridge and rules; the last lab's end puts forwarding back to what it was."""
    succeeds("ip", "link", "del", lab.bridge)
    succeeds("nft", "delete", "table", "ip", lab.table)
    if not any(LINKS.glob("dlb-*")):
        _restore_forwarding()


def _remember_forwarding() -> None:
    before = state_directory() / "ip_forward.before"
    if not before.exists():
        before.write_text(FORWARD.read_text())


def _restore_forwarding() -> None:
    before = state_directory() / "ip_forward.before"
    if before.exists():
        FORWARD.write_text(before.read_text())
        before.unlink()


def connect(host: HostIdentity) -> None:
    """Make the host's network namespace and plug it into the bridge."""
    disconnect(host)
    name = namespace(host)
    run("ip", "netns", "add", name)
    run("ip", "link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", name)
    run("ip", "link", "set", host.link, "master", host.lab.bridge, "up")
    inside = f"""
        link set eth0 address {mac_for(host.address)}
        addr add {host.address}/{host.lab.subnet.prefixlen} dev eth0
        link set eth0 up
        link set lo up
        route add default via {host.lab.gateway}
    """
    run("ip", "-n", name, "-batch", "-", stdin=inside)


def unplug(host: HostIdentity) -> None:
    """Cut the cable; peers hear nothing more, as with a host that lost its power."""
    succeeds("ip", "link", "del", host.link)


def disconnect(host: HostIdentity) -> None:
    unplug(host)
    if (NAMESPACES / namespace(host)).exists():
        run("ip", "netns", "del", namespace(host))


def clear(lab: Lab) -> None:
    """Remove every link and namespace of the lab, whatever its topology was."""
    for link in LINKS.glob(f"{lab.link_prefix}*"):
        succeeds("ip", "link", "del", link.name)
    for name in NAMESPACES.glob(f"{lab.link_prefix}*"):
        succeeds("ip", "netns", "del", name.name)
    remove_bridge(lab)


def left_of(lab: Lab) -> list[str]:
    """What is still there of the lab's network, by name."""
    links = [link.name for link in LINKS.glob(f"{lab.link_prefix}*")]
    bridge = [lab.bridge] if (LINKS / lab.bridge).exists() else []
    namespaces = [str(name) for name in NAMESPACES.glob(f"{lab.link_prefix}*")]
    table = [f"table ip {lab.table}"] if succeeds("nft", "list", "table", "ip", lab.table) else []
    return links + bridge + namespaces + table
