"""What several hosts must be to each other: names, standbys, one bus, one database, zones, routers."""

import json
import re
from functools import partial

import pytest

from support.faults import API_PORTS, Faults
from support.lab import Lab
from support.observe import ask, eventually, instances
from support.small import Desire, answering, cells_of, runs, zones

TWO_ADDRESSES = [
    "bbs.service.cf.internal",
    "locket.service.cf.internal",
    "auctioneer.service.cf.internal",
    "file-server.service.cf.internal",
    "ssh-proxy.service.cf.internal",
    "gorouter.service.cf.internal",
    "nats.service.cf.internal",
]


@pytest.mark.parametrize("job", sorted(API_PORTS))
def test_one_has_its_api_open_and_the_standby_refuses_connections_and_is_healthy(
    lab: Lab, whole: Faults, job: str
) -> None:
    group, port = API_PORTS[job]
    standby = whole.standby(job)

    assert whole.active(job) == [host for host in lab.groups[group] if host != standby]
    health = {"bbs": "http://127.0.0.1:8890/ping", "auctioneer": "http://127.0.0.1:17001/ping"}[job]
    for host in lab.groups[group]:
        asked = lab.run(f"curl --silent --output /dev/null --write-out '%{{http_code}}' {health}", host=host)
        assert asked.stdout == "200", host
    refused = lab.run(f"timeout 5 bash -c 'echo > /dev/tcp/127.0.0.1/{port}'", host=standby)
    assert "Connection refused" in refused.stderr


def test_each_locket_answers_by_its_own_name(lab: Lab, whole: Faults) -> None:
    for index, _ in enumerate(lab.groups["diego-api"]):
        address = f"diego-api-{index}.locket.service.cf.internal:8891"
        shown = lab.diego("--locket-api-location", address, "locks", "--json")

        assert shown.returncode == 0, shown.stderr
        assert {json.loads(line)["key"] for line in shown.stdout.splitlines()} == {"bbs", "auctioneer"}


def test_every_host_resolves_every_name_to_all_of_its_instances(lab: Lab, whole: Faults) -> None:
    wanted = {lab.address(host) for host in lab.groups["diego-api"]}

    def right(host: str) -> bool:
        command = "; ".join(f"getent ahostsv4 {name} | sed 's/$/ {name}/'" for name in TWO_ADDRESSES)
        found = [line.split() for line in lab.run(command, host=host).stdout.splitlines()]
        return all({row[0] for row in found if row[-1] == name} == wanted for name in TWO_ADDRESSES)

    for host in lab.hosts:
        eventually(partial(right, host), within=60, what=f"{host} knows all addresses")


def test_a_smart_name_leaves_out_a_host_that_is_not_well_and_an_all_name_keeps_it(
    lab: Lab, faults: Faults
) -> None:
    unwell = lab.groups["scheduler"][0]
    address = lab.address(unwell)
    cell = lab.groups["diego-cell"][0]

    def resolves(name: str) -> bool:
        return address in lab.run(f"getent ahostsv4 {name}", host=cell).stdout

    with faults.stopped(unwell, "ssh_proxy"):
        eventually(lambda: not resolves("ssh-proxy.service.cf.internal"), within=60, what="it is left out")
        assert resolves("auctioneer.service.cf.internal")
        assert resolves("bbs.service.cf.internal")
    eventually(lambda: resolves("ssh-proxy.service.cf.internal"), within=60, what="it is back")


def test_a_hosts_health_is_told_to_nobody_without_a_certificate(lab: Lab, whole: Faults) -> None:
    address = lab.address(lab.groups["nats"][0])
    asked = lab.run(
        f"curl --silent --show-error --insecure https://{address}:8853/health", host=lab.groups["nats"][1]
    )

    assert asked.returncode != 0
    assert "certificate required" in asked.stderr


def test_the_message_buses_are_one(lab: Lab, whole: Faults) -> None:
    for host in lab.groups["nats"]:
        shown = lab.run("curl --silent http://127.0.0.1:8222/routez", host=host)
        assert json.loads(shown.stdout)["num_routes"] == len(lab.groups["nats"]) - 1


@pytest.mark.parametrize("port", [4224, 4225])
def test_the_bus_has_no_plain_listener(lab: Lab, whole: Faults, port: int) -> None:
    address = lab.address(lab.groups["nats"][0])
    asked = lab.run(
        f"curl --silent --show-error --insecure --max-time 10 telnet://{address}:{port} < /dev/null; "
        f"openssl s_client -connect {address}:{port} < /dev/null 2>&1 | tail -3",
        host=lab.groups["nats"][1],
    )

    assert '"tls_required":true' in asked.stdout or "tls_required" not in asked.stdout
    assert "MSG" not in asked.stdout


def test_the_database_takes_other_hosts_only_with_tls(lab: Lab, whole: Faults) -> None:
    config = "/var/vcap/jobs/bbs/config/bbs.json"
    host = lab.groups["diego-api"][1]
    found = lab.run(f"cat {config}", host=host)
    password = re.search(r"diego:([^@]+)@tcp", json.loads(found.stdout)["database_connection_string"])
    assert password
    client = "mariadb --no-defaults --host sql-db.service.cf.internal --user diego diego --execute 'SELECT 1'"

    plain = lab.run(f"MYSQL_PWD={password[1]} {client} --skip-ssl", host=host)
    safe = lab.run(
        f"MYSQL_PWD={password[1]} {client} --ssl-ca=/var/vcap/jobs/bbs/config/certs/sql_ca.crt --ssl-verify-server-cert",
        host=host,
    )

    assert plain.returncode != 0
    assert safe.returncode == 0, safe.stderr


def test_cells_tell_their_zones_and_instances_are_spread_over_them(lab: Lab, whole: Faults) -> None:
    assert sorted(cells_of(lab).values()) == ["z1", "z2"]
    assert zones(lab) == {"z1", "z2"}


def test_instances_of_a_new_app_are_spread_evenly(lab: Lab, whole: Faults, app: Desire) -> None:
    guid = app(4)

    where = runs(lab, guid, 4)

    assert sorted(where.count(cell) for cell in set(where)) == [2, 2]


def test_each_router_reaches_every_instance(lab: Lab, whole: Faults) -> None:
    guids = {one["instance_guid"] for one in instances(lab, "web")}

    for router in lab.routers:
        assert answering(lab, router) == guids


def test_an_app_reaches_one_on_another_cell_by_its_host_port_and_not_past_it(lab: Lab, whole: Faults) -> None:
    found = instances(lab, "web")
    here = next(one for one in found if one["cell_id"] == "diego-cell-0")
    there = next(one for one in found if one["cell_id"] == "diego-cell-1")
    by_host = f"{there['address']}:{there['ports'][0]['host_port']}"
    past_it = f"{there['instance_address']}:{there['ports'][0]['container_port']}"

    def fetch(address: str) -> str:
        inside = f"runc exec {here['instance_guid']} /usr/bin/curl --silent --max-time 5 http://{address}/json || true"
        return lab.run(inside, host=whole.host_of("diego-cell-0")).stdout

    assert there["instance_guid"] in fetch(by_host)
    assert fetch(past_it) == ""


def test_the_url_of_the_sample_app_answers_by_name(lab: Lab, whole: Faults) -> None:
    for router in lab.env["ROUTER_ADDRESSES"].split(","):
        assert ask(lab, "/json", router=router).status == 200
    assert lab.env["ROUTER_ADDRESS"] == lab.env["ROUTER_ADDRESSES"].split(",")[0]
