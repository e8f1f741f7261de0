"""The container network: who has which address and port, and the texts that make it so.

Each container has a veth pair to the host and a /32 address; there is no bridge, so
nothing reaches another container but by a host port. One nftables table of our own
holds what is allowed. It can always be written anew, whole, from the containers'
records: that is how a restarted garden mends whatever it finds.

No anonymous `{ }` sets appear in rules: thousands of them make every nft call slow.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from diego.garden.core.specs import NetOutRule, PortMapping, Protocol
from diego.garden.errors import GardenError

LINK_GROUP = 77  # marks the host ends of our veth pairs, for rules and for cleaning up
GATEWAY_OFFSET = 1
DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class Link:
    """One container's part of the network."""

    address: str
    ports: tuple[PortMapping, ...] = ()
    net_out: tuple[NetOutRule, ...] = ()
    handle: str = ""

    @property
    def interface(self) -> str:
        """The name of the host's end, at most 15 characters: it follows from the address."""
        return f"g{int(ipaddress.IPv4Address(self.address)):08x}"

    @property
    def mac(self) -> str:
        """The container's hardware address.

        It follows from the IP address too: whoever remembers an earlier holder of that is right.
        """
        return "02:fe:" + ":".join(f"{octet:02x}" for octet in ipaddress.IPv4Address(self.address).packed)

    @property
    def chain(self) -> str:
        """The name of its own chain of net-out rules."""
        return "container_" + self.address.replace(".", "_")


@dataclass(frozen=True, slots=True)
class HostService:
    """Something on the host that containers may reach."""

    address: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Policy:
    """What holds for all containers of the cell."""

    table: str = "garden"
    deny_networks: tuple[str, ...] = ()
    host_services: tuple[HostService, ...] = ()
    allow_host_access: bool = False


class AddressPool:
    """The addresses of the cell's network, handed out in turn, so that a fresh one was idle longest."""

    def __init__(self, network: str) -> None:
        self.network = ipaddress.IPv4Network(network)
        base = int(self.network.network_address)
        self.gateway = str(ipaddress.IPv4Address(base + GATEWAY_OFFSET))
        self._first = base + GATEWAY_OFFSET + 1
        self._count = self.network.num_addresses - 3  # all but network, gateway, broadcast
        if self._count < 1:
            raise ValueError(f"{network} has no room for containers")
        self._next = 0
        self._used: set[int] = set()

    @property
    def size(self) -> int:
        """How many containers the network has room for."""
        return self._count

    def take(self) -> str:
        """The next free address.

        Raises:
            GardenError: all are in use.
        """
        for step in range(self._count):
            number = (self._next + step) % self._count
            if number not in self._used:
                self._used.add(number)
                self._next = (number + 1) % self._count
                return str(ipaddress.IPv4Address(self._first + number))
        raise GardenError("address pool is exhausted")

    def restore(self, address: str) -> bool:
        """Remember that a container found at start has this address; False if the pool has it not."""
        number = int(ipaddress.IPv4Address(address)) - self._first
        if not 0 <= number < self._count:
            return False
        self._used.add(number)
        self._next = max(self._next, (number + 1) % self._count)
        return True

    def release(self, address: str) -> None:
        """The container of this address is gone."""
        self._used.discard(int(ipaddress.IPv4Address(address)) - self._first)


@dataclass
class PortPool:
    """Host ports, handed out round-robin: one that was just given back is the last to come again.

    A client that still holds the old address of a gone container must not reach
    another one there; so `cursor` is kept across restarts.
    """

    start: int
    size: int
    cursor: int = 0
    _used: set[int] = field(default_factory=set)

    def take(self) -> int:
        """The next free port.

        Raises:
            GardenError: all are in use.
        """
        for step in range(self.size):
            port = self.start + (self.cursor + step) % self.size
            if port not in self._used:
                self._used.add(port)
                self.cursor = (port - self.start + 1) % self.size
                return port
        raise GardenError("port pool is exhausted")

    def claim(self, port: int) -> None:
        """Take this very port, of the pool or not.

        Raises:
            GardenError: a container has it.
        """
        if port in self._used:
            raise GardenError(f"host port {port} is already in use")
        self._used.add(port)

    def release(self, ports: Iterable[int]) -> None:
        """Their container is gone."""
        self._used.difference_update(ports)


def link_commands(link: Link, *, gateway: str, pid: int, mtu: int) -> str:
    """What `ip -batch` does on the host to connect the container whose init is `pid`."""
    ours = f"group {LINK_GROUP} mtu {mtu}"
    theirs = f"peer name eth0 address {link.mac} mtu {mtu} netns {pid}"
    return "\n".join(
        [
            f"link add {link.interface} {ours} type veth {theirs}",
            f"addr add {gateway} peer {link.address} dev {link.interface}",
            f"link set {link.interface} up",
            "",
        ]
    )


def inside_commands(link: Link, *, gateway: str) -> str:
    """What `ip -batch` does in the container's network namespace."""
    return "\n".join(
        [
            "link set lo up",
            f"addr add {link.address}/32 dev eth0",
            "link set eth0 up",
            f"route add {gateway} dev eth0",
            f"route add default via {gateway}",
            "",
        ]
    )


def add_script(policy: Policy, link: Link) -> str:
    """Commands for nft that let a container in: its ports, and its net-out rules if it has any."""
    lines = []
    if link.net_out:
        lines.append(f"add chain ip {policy.table} {link.chain}")
        lines += [f"add rule ip {policy.table} {link.chain} {rule}" for rule in _rules(link)]
        lines.append(f"add element ip {policy.table} egress {{ {link.address} : jump {link.chain} }}")
    lines += [
        f"add element ip {policy.table} ports {{ {port.host_port} : {link.address} . {port.container_port} }}"
        for port in link.ports
    ]
    return "\n".join([*lines, ""]) if lines else ""


def remove_script(policy: Policy, link: Link) -> str:
    """Commands for nft that undo `add_script`, in one transaction: elements first, else a chain is busy."""
    lines = [f"delete element ip {policy.table} ports {{ {port.host_port} }}" for port in link.ports]
    if link.net_out:
        lines.append(f"delete element ip {policy.table} egress {{ {link.address} }}")
        lines.append(f"delete chain ip {policy.table} {link.chain}")
    return "\n".join([*lines, ""]) if lines else ""


def table_script(policy: Policy, links: Sequence[Link]) -> str:
    """Commands for nft that replace our tables, in one transaction, by what these containers need."""
    table, group = policy.table, LINK_GROUP
    ports = [
        f"{port.host_port} : {link.address} . {port.container_port}" for link in links for port in link.ports
    ]
    egress = [f"{link.address} : jump {link.chain}" for link in links if link.net_out]
    services = [f"{s.address} . {s.protocol} . {s.port}" for s in policy.host_services]
    chains = [
        f"    chain {link.chain} {{\n" + "".join(f"        {rule}\n" for rule in _rules(link)) + "    }\n"
        for link in links
        if link.net_out
    ]
    host_access = f"        iifgroup {group} accept\n" if policy.allow_host_access else ""
    return f"""\
add table ip {table}
delete table ip {table}
table ip {table} {{
    # host port -> container
    map ports {{
        type inet_service : ipv4_addr . inet_service
{_elements(ports)}    }}
    # what containers may reach on the host
    set host_services {{
        type ipv4_addr . inet_proto . inet_service
{_elements(services)}    }}
    set denied {{
        type ipv4_addr
        flags interval
{_elements(policy.deny_networks)}    }}
{"".join(chains)}    # source address -> the container's own net-out rules
    map egress {{
        type ipv4_addr : verdict
{_elements(egress)}    }}
    # before connection tracking: a source address must be routed to the link it came from
    chain antispoof {{
        type filter hook prerouting priority raw
        iifgroup {group} fib saddr . iif oif 0 drop
    }}
    # from other hosts and from containers
    chain prerouting {{
        type nat hook prerouting priority dstnat
        fib daddr type local dnat ip to tcp dport map @ports
    }}
    # from this host to its own address
    chain output {{
        type nat hook output priority -100
        ip daddr != 127.0.0.0/8 fib daddr type local dnat ip to tcp dport map @ports
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat
        iifgroup {group} oifgroup {group} ct status dnat masquerade
        iifgroup {group} oifgroup != {group} masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifgroup != {group} oifgroup != {group} accept
        ct state established,related accept
        ct state invalid drop
        iifgroup {group} jump from_container
        oifgroup {group} ct status dnat accept
        oifgroup {group} reject with icmp type admin-prohibited
    }}
    chain from_container {{
        ip saddr vmap @egress
        iifgroup {group} oifgroup {group} ct status dnat accept
        oifgroup {group} reject with icmp type admin-prohibited
        ip daddr @denied reject with icmp type admin-prohibited
        accept
    }}
    chain input {{
        type filter hook input priority filter; policy accept;
        iifgroup != {group} accept
        ct state established,related accept
{host_access}        ip daddr . meta l4proto . th dport @host_services accept
        reject with icmp type host-prohibited
    }}
}}
# containers have no IPv6: otherwise link-local addresses reach the host past the rules above
add table ip6 {table}
delete table ip6 {table}
table ip6 {table} {{
    chain input {{
        type filter hook input priority filter
        iifgroup {group} drop
    }}
    chain forward {{
        type filter hook forward priority filter
        iifgroup {group} drop
    }}
}}
"""


def remove_table_script(policy: Policy) -> str:
    """Commands for nft that remove our tables, if they are there."""
    return "".join(
        f"add table {family} {policy.table}\ndelete table {family} {policy.table}\n"
        for family in ("ip", "ip6")
    )


def dns_services(servers: Iterable[str]) -> tuple[HostService, ...]:
    """The name servers' ports: containers may ask them even when they are on the host."""
    return tuple(HostService(server, protocol, DNS_PORT) for server in servers for protocol in ("udp", "tcp"))


def hosts_file(address: str, hostname: str, additional: Iterable[str]) -> str:
    """The container's /etc/hosts."""
    return "\n".join(["127.0.0.1 localhost", f"{address} {hostname}", *additional, ""])


def resolv_conf(servers: Sequence[str], additional: Sequence[str], of_host: str, gateway: str) -> str:
    """The container's /etc/resolv.conf (contract/garden.md section 9).

    Without configured servers it is the host's, less the name servers on the host's own
    loopback, which a container cannot reach; had the host only such, the gateway stands
    for them.
    """
    if servers:
        lines = [f"nameserver {server}" for server in servers]
    else:
        given = of_host.splitlines()
        lines = [line for line in given if not _is_loopback_server(line)]
        if len(lines) < len(given) and not any(line.startswith("nameserver") for line in lines):
            lines.append(f"nameserver {gateway}")
    return "\n".join([*lines, *(f"nameserver {server}" for server in additional), ""])


def _is_loopback_server(line: str) -> bool:
    words = line.split()
    return len(words) >= 2 and words[0] == "nameserver" and (words[1].startswith("127.") or words[1] == "::1")


def _elements(elements: Iterable[str]) -> str:
    text = ", ".join(elements)
    return f"        elements = {{ {text} }}\n" if text else ""


def _rules(link: Link) -> list[str]:
    """A container's net-out rules as nft writes them; later ones stand before earlier ones."""
    return [line for rule in reversed(link.net_out) for line in _rule_lines(rule, link.handle)]


def _rule_lines(rule: NetOutRule, handle: str) -> list[str]:
    networks = [f"ip daddr {_range(*network)} " for network in rule.networks] or [""]
    log = f'ct state new log prefix "{handle[:28]}" ' if rule.log else ""
    return [
        f"{network}{match}{verdict}"
        for network in networks
        for match in _matches(rule)
        for verdict in ([f"{log}accept", "accept"] if log else ["accept"])
    ]


def _matches(rule: NetOutRule) -> list[str]:
    if rule.protocol is Protocol.ALL:
        return [""]
    if rule.protocol is Protocol.ICMP:
        code = "" if rule.icmp_code is None else f"icmp code {rule.icmp_code} "
        kind = "" if rule.icmp_type is None else f"icmp type {rule.icmp_type} "
        return [f"{kind}{code}" or "meta l4proto icmp "]
    name = rule.protocol.name.lower()
    if not rule.ports:
        return [f"meta l4proto {name} "]
    return [f"{name} dport {_range(str(start), str(end))} " for start, end in rule.ports]


def _range(start: str, end: str) -> str:
    return start if start == end else f"{start}-{end}"
