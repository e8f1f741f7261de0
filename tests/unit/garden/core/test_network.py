"""Addresses, ports and the texts of the container network (contract/garden.md section 9, lab.md section 5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diego.garden.core import network
from diego.garden.core.network import AddressPool, HostService, Link, Policy, PortPool
from diego.garden.core.specs import NetOutRule, PortMapping, Protocol
from diego.garden.errors import GardenError

POLICY = Policy()
LINK = Link("10.255.1.7", (PortMapping(61001, 8080), PortMapping(61002, 2222)), (), "handle")
RULES = (
    NetOutRule(Protocol.TCP, (("10.0.0.1", "10.0.0.9"),), ((80, 80), (8000, 8999))),
    NetOutRule(Protocol.UDP, (("1.2.3.4", "1.2.3.4"), ("1.2.3.8", "1.2.3.8")), ((53, 53),)),
    NetOutRule(Protocol.ICMP, icmp_type=8, icmp_code=0),
    NetOutRule(Protocol.ICMP, icmp_type=8),
    NetOutRule(Protocol.TCP, log=True),
    NetOutRule(),
)


def test_the_first_address_is_the_cells_and_the_next_are_the_containers() -> None:
    pool = AddressPool("10.255.1.0/24")

    assert pool.gateway == "10.255.1.1"
    assert pool.size == 253
    assert [pool.take(), pool.take()] == ["10.255.1.2", "10.255.1.3"]


def test_all_addresses_are_used_before_one_comes_again() -> None:
    pool = AddressPool("10.255.1.0/29")
    first = pool.take()
    pool.release(first)

    following = [pool.take() for _ in range(pool.size)]

    assert following[-1] == first
    assert len(set(following)) == pool.size == 5
    with pytest.raises(GardenError, match="address pool is exhausted"):
        pool.take()


def test_addresses_found_at_start_are_not_given_out() -> None:
    pool = AddressPool("10.255.1.0/29")

    assert pool.restore("10.255.1.3")
    assert not pool.restore("10.255.9.3")
    assert "10.255.1.3" not in [pool.take() for _ in range(pool.size - 1)]


def test_a_network_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="no room"):
        AddressPool("10.255.1.0/31")


def test_a_released_port_is_the_last_to_come_again() -> None:
    pool = PortPool(61001, 3)
    first = pool.take()
    pool.release([first])

    assert [pool.take(), pool.take(), pool.take()] == [61002, 61003, 61001]
    with pytest.raises(GardenError, match="port pool is exhausted"):
        pool.take()


def test_the_pool_goes_on_where_it_was_before_a_restart() -> None:
    before = PortPool(61001, 10)
    before.take()
    before.take()

    after = PortPool(61001, 10, before.cursor)

    assert after.take() == 61003


def test_a_chosen_port_is_taken_once_in_the_pool_or_not() -> None:
    pool = PortPool(61001, 2)
    pool.claim(61001)
    pool.claim(50000)

    assert pool.take() == 61002
    with pytest.raises(GardenError, match="host port 50000 is already in use"):
        pool.claim(50000)


@given(st.lists(st.sampled_from(["take", "release", "claim"]), max_size=60), st.randoms())
def test_no_port_is_ever_used_twice(history: list[str], random: object) -> None:
    pool, used = PortPool(100, 8), list[int]()

    for step in history:
        if step == "release" and used:
            pool.release([used.pop(0)])
            continue
        try:
            if step == "claim":
                pool.claim(103)
                used.append(103)
            elif step == "take":
                used.append(pool.take())
        except GardenError:
            assert step == "claim" or len(used) >= 8
        assert len(set(used)) == len(used)


def test_names_follow_from_the_address() -> None:
    assert LINK.interface == "g0aff0107"
    assert LINK.mac == "02:fe:0a:ff:01:07"
    assert LINK.chain == "container_10_255_1_7"


def test_the_host_and_the_container_know_each_other_only() -> None:
    pair = "type veth peer name eth0 address 02:fe:0a:ff:01:07 mtu 1450 netns 42"

    assert network.link_commands(LINK, gateway="10.255.1.1", pid=42, mtu=1450).splitlines() == [
        f"link add g0aff0107 group 77 mtu 1450 {pair}",
        "addr add 10.255.1.1 peer 10.255.1.7 dev g0aff0107",
        "link set g0aff0107 up",
    ]
    assert network.inside_commands(LINK, gateway="10.255.1.1").splitlines() == [
        "link set lo up",
        "addr add 10.255.1.7/32 dev eth0",
        "link set eth0 up",
        "route add 10.255.1.1 dev eth0",
        "route add default via 10.255.1.1",
    ]


def test_ports_are_added_and_removed() -> None:
    assert network.add_script(POLICY, LINK).splitlines() == [
        "add element ip garden ports { 61001 : 10.255.1.7 . 8080 }",
        "add element ip garden ports { 61002 : 10.255.1.7 . 2222 }",
    ]
    assert network.remove_script(POLICY, LINK).splitlines() == [
        "delete element ip garden ports { 61001 }",
        "delete element ip garden ports { 61002 }",
    ]
    assert network.add_script(POLICY, Link("10.255.1.7")) == ""
    assert network.remove_script(POLICY, Link("10.255.1.7")) == ""


def test_rules_are_a_chain_of_the_container_the_latest_first() -> None:
    link = Link("10.255.1.7", (), RULES, "a-handle-of-more-than-twenty-eight-characters")
    add = "add rule ip garden container_10_255_1_7 "

    assert network.add_script(POLICY, link).splitlines() == [
        "add chain ip garden container_10_255_1_7",
        f"{add}accept",
        f'{add}meta l4proto tcp ct state new log prefix "a-handle-of-more-than-twenty" accept',
        f"{add}meta l4proto tcp accept",
        f"{add}icmp type 8 accept",
        f"{add}icmp type 8 icmp code 0 accept",
        f"{add}ip daddr 1.2.3.4 udp dport 53 accept",
        f"{add}ip daddr 1.2.3.8 udp dport 53 accept",
        f"{add}ip daddr 10.0.0.1-10.0.0.9 tcp dport 80 accept",
        f"{add}ip daddr 10.0.0.1-10.0.0.9 tcp dport 8000-8999 accept",
        "add element ip garden egress { 10.255.1.7 : jump container_10_255_1_7 }",
    ]
    assert network.remove_script(POLICY, link).splitlines() == [
        "delete element ip garden egress { 10.255.1.7 }",
        "delete chain ip garden container_10_255_1_7",
    ]


def test_no_rule_holds_an_anonymous_set() -> None:
    link = Link("10.255.1.7", (), RULES)

    rules = [line for line in network.add_script(POLICY, link).splitlines() if line.startswith("add rule")]

    assert not [rule for rule in rules if "{" in rule]


def test_the_whole_table_holds_all_containers() -> None:
    policy = Policy(
        table="t",
        deny_networks=("0.0.0.0/0",),
        host_services=(*network.dns_services(["169.254.0.2"]), HostService("10.0.0.1", "tcp", 80)),
    )

    script = network.table_script(policy, [LINK, Link("10.255.1.8", (PortMapping(61005, 80),), RULES)])

    assert script.startswith("add table ip t\ndelete table ip t\n")
    assert (
        "elements = { 61001 : 10.255.1.7 . 8080, 61002 : 10.255.1.7 . 2222, 61005 : 10.255.1.8 . 80 }"
        in script
    )
    assert "elements = { 169.254.0.2 . udp . 53, 169.254.0.2 . tcp . 53, 10.0.0.1 . tcp . 80 }" in script
    assert "elements = { 0.0.0.0/0 }" in script
    assert "elements = { 10.255.1.8 : jump container_10_255_1_8 }" in script
    assert "iifgroup 77 accept" not in script


def test_access_to_the_host_is_a_choice() -> None:
    assert "        iifgroup 77 accept\n" in network.table_script(Policy(allow_host_access=True), [])


def test_the_hosts_file_names_the_container() -> None:
    assert network.hosts_file("10.255.1.7", "name", ["10.0.0.1 other"]) == (
        "127.0.0.1 localhost\n10.255.1.7 name\n10.0.0.1 other\n"
    )


@pytest.mark.parametrize(
    ("servers", "additional", "of_host", "expected"),
    [
        (["1.1.1.1"], ["2.2.2.2"], "nameserver 9.9.9.9", "nameserver 1.1.1.1\nnameserver 2.2.2.2\n"),
        ([], [], "search x\nnameserver 9.9.9.9\nnameserver 127.0.0.53", "search x\nnameserver 9.9.9.9\n"),
        ([], [], "nameserver 127.0.0.53", "nameserver 10.255.1.1\n"),
        ([], ["2.2.2.2"], "nameserver ::1", "nameserver 10.255.1.1\nnameserver 2.2.2.2\n"),
        ([], [], "options edns0", "options edns0\n"),
    ],
)
def test_name_servers_are_configured_or_the_hosts(
    servers: list[str], additional: list[str], of_host: str, expected: str
) -> None:
    assert network.resolv_conf(servers, additional, of_host, "10.255.1.1") == expected
