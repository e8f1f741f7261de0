"""The lab's cables: a bridge per lab, a network namespace and a link per host, and the way out."""

import json
from pathlib import Path

from lab.identity import HostIdentity, Lab, LabError, mac_for, state_directory
from lab.shell import run, succeeds

LINKS = Path("/sys/class/net")
NAMESPACES = Path("/run/netns")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")

CUTS = """
add table bridge {table}
add set bridge {table} silent {{ type ifname; }}
add set bridge {table} parted {{ type ipv4_addr . ipv4_addr; }}
add chain bridge {table} between {{ type filter hook forward priority 0; }}
add chain bridge {table} to_machine {{ type filter hook input priority 0; }}
add chain bridge {table} from_machine {{ type filter hook output priority 0; }}
flush chain bridge {table} between
flush chain bridge {table} to_machine
flush chain bridge {table} from_machine
add rule bridge {table} between iifname @silent drop
add rule bridge {table} between oifname @silent drop
add rule bridge {table} between ip saddr . ip daddr @parted drop
add rule bridge {table} to_machine iifname @silent drop
add rule bridge {table} from_machine oifname @silent drop
"""
"""What no longer gets through: whole cables, and single directions between two hosts. Adding it again changes nothing."""


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


def silence(host: HostIdentity) -> None:
    """Nothing passes the host's cable any more, in either direction; its link stays up, and nobody is told."""
    _cuts(host.lab, f"add element bridge {{table}} silent {{{{ {host.link} }}}}")


def part(sender: HostIdentity, receiver: HostIdentity) -> None:
    """What `sender` sends no longer reaches `receiver`; the other direction is another cut."""
    _cuts(sender.lab, f"add element bridge {{table}} parted {{{{ {sender.address} . {receiver.address} }}}}")


def heal(lab: Lab) -> None:
    """Undo every cut of the lab."""
    succeeds("nft", "delete", "table", "bridge", lab.table)


def _cuts(lab: Lab, element: str) -> None:
    """Add to the lab's cuts. The table is of the bridge, which every frame between hosts passes."""
    table = lab.table
    run("nft", "-f", "-", stdin=f"{CUTS.format(table=table)}\n{element.format(table=table)}\n")


def clear(lab: Lab) -> None:
    """Remove every link and namespace of the lab, whatever its topology was."""
    heal(lab)
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
    tables = [
        f"table {family} {lab.table}"
        for family in ("ip", "bridge")
        if succeeds("nft", "list", "table", family, lab.table)
    ]
    return links + bridge + namespaces + tables
