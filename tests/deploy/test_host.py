"""What a deployed host is like: programs, users, files and who listens where."""

import pytest
from testinfra.host import Host

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

PROGRAMS = [
    "auctioneer",
    "bbs",
    "bosh_dns",
    "dnsmasq",
    "file_server",
    "garden",
    "garden_keeper",
    "gorouter",
    "healthchecker",
    "locket",
    "mariadb",
    "nats",
    "nginx",
    "rep",
    "route_emitter",
    "ssh_proxy",
]

ROOT_PROGRAMS = {"garden", "garden_keeper"}
OTHER_USERS: dict[str, str] = {}

LOOPBACK_PORTS = {
    1800: "rep's admin listener",
    8082: "gorouter's status",
    8083: "gorouter's routes",
    8222: "NATS's monitor",
    8890: "bbs's health",
    17001: "auctioneer's debug",
    17005: "file_server's debug",
    17008: "rep's debug",
    17009: "route_emitter's debug",
    17011: "route_emitter's health",
    17016: "ssh_proxy's debug",
    17017: "bbs's debug",
    17018: "locket's debug",
    17019: "garden's debug",
    17053: "bosh_dns's debug",
    17054: "healthchecker's status",
    2223: "ssh_proxy's health",
}

OPEN_PORTS = {
    22: "the host's own sshd",
    80: "nginx",
    443: "nginx",
    1801: "rep",
    2222: "ssh_proxy",
    3306: "MariaDB",
    4224: "NATS",
    8080: "file_server, redirecting",
    8443: "file_server",
    8444: "nginx, health",
    8853: "bosh_dns",
    8889: "bbs",
    8891: "locket",
    9016: "auctioneer",
}


@pytest.fixture(scope="module")
def status(host: Host) -> dict[str, str]:
    """Supervisor's word on each program."""
    lines = host.run("supervisorctl status").stdout.splitlines()
    return {line.split()[0].split(":")[-1]: line.split()[1] for line in lines}


@pytest.fixture(scope="module")
def listeners(host: Host) -> list[tuple[str, int]]:
    """Address and port of everything that listens for TCP."""
    lines = host.check_output("ss --tcp --listening --numeric --no-header").splitlines()
    ends = [line.split()[3].rpartition(":") for line in lines]
    return [(address, int(port)) for address, _, port in ends]


@pytest.mark.parametrize("program", PROGRAMS)
def test_supervisor_keeps_each_program_running(status: dict[str, str], program: str) -> None:
    assert status.get(program) == "RUNNING"


def test_supervisor_runs_nothing_that_is_not_listed_here(status: dict[str, str]) -> None:
    assert sorted(status) == PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS)
def test_only_the_engine_and_its_keeper_run_as_root(host: Host, program: str) -> None:
    pid = host.check_output("supervisorctl pid %s", program)
    user = host.check_output("stat -c %%U /proc/%s", pid)

    if program in ROOT_PROGRAMS:
        assert user == "root"
    else:
        assert user == OTHER_USERS.get(program, "vcap")


def test_keys_are_read_by_their_job_alone(host: Host) -> None:
    keys = host.check_output(
        r"find /var/vcap/jobs /etc/mysql /var/vcap/store -xdev -name '*.key' -printf '%m %p\n'"
    ).splitlines()

    assert len(keys) >= 10
    for line in keys:
        mode, path = line.split(" ", 1)
        assert mode in {"600", "640", "400", "440"}, path
        assert not int(mode, 8) & 0o007, path


def test_configs_hold_passwords_and_are_closed_to_others(host: Host) -> None:
    for job in ("bbs", "locket", "route_emitter"):
        config = host.file(f"/var/vcap/jobs/{job}/config/{job}.json")
        assert config.exists
        assert not config.mode & 0o007


def test_no_authoritys_key_is_on_the_host(host: Host) -> None:
    found = host.check_output("find /var/vcap/jobs /var/vcap/store /etc -xdev -name '*ca.key'")

    assert found == ""


@pytest.mark.parametrize("port", sorted(LOOPBACK_PORTS))
def test_health_and_debug_stand_on_loopback(listeners: list[tuple[str, int]], port: int) -> None:
    addresses = {address for address, listening in listeners if listening == port}

    assert addresses == {"127.0.0.1"}, LOOPBACK_PORTS[port]


def test_nothing_listens_that_the_contract_does_not_have(listeners: list[tuple[str, int]]) -> None:
    known = OPEN_PORTS.keys() | LOOPBACK_PORTS.keys() | {53}

    assert {port for _, port in listeners} - known == set()


@pytest.mark.parametrize("port", sorted(OPEN_PORTS))
def test_each_api_is_listening(listeners: list[tuple[str, int]], port: int) -> None:
    assert port in {listening for _, listening in listeners}, OPEN_PORTS[port]


@pytest.mark.parametrize(
    "name_and_port",
    [
        "bbs.service.cf.internal:8889",
        "auctioneer.service.cf.internal:9016",
        "diego-cell-0.cell.service.cf.internal:1801",
    ],
)
def test_a_caller_without_a_certificate_is_turned_away(host: Host, name_and_port: str) -> None:
    answer = host.run("curl --silent --show-error --insecure --max-time 10 https://%s/v1/ping", name_and_port)

    assert answer.rc != 0
    assert "certificate required" in answer.stderr


def test_names_of_the_platform_resolve_on_the_host(host: Host) -> None:
    for name in (
        "bbs.service.cf.internal",
        "auctioneer.service.cf.internal",
        "locket.service.cf.internal",
        "file-server.service.cf.internal",
        "ssh-proxy.service.cf.internal",
        "sql-db.service.cf.internal",
        "nats.service.cf.internal",
        "diego-cell-0.cell.service.cf.internal",
    ):
        assert host.addr(name).is_resolvable, name


def test_logs_lie_where_operators_look_and_are_bounded(host: Host) -> None:
    for job in ("bbs", "rep", "garden", "auctioneer"):
        log = host.file(f"/var/vcap/sys/log/{job}/{job}.log")
        assert log.exists
        assert log.size < 100 << 20


def test_ssh_proxy_says_what_it_cannot_do_yet(host: Host) -> None:
    answer = host.run(
        "ssh -p 2222 -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o BatchMode=yes"
        " -o ConnectTimeout=10 cf:some-app/0@127.0.0.1 true && echo let in || true"
    )

    assert "let in" not in answer.stdout
    assert "not available" in answer.stdout + answer.stderr
