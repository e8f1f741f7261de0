"""What is isolated, and how (contract/garden.md section 8, ours.md section 4)."""

from dataclasses import replace
from typing import Any

import pytest

from diego.garden.core import oci, seccomp
from diego.garden.core.oci import Engine, IdMap
from diego.garden.core.specs import BindMount, Limits
from diego.garden.core.users import User

PROFILE = seccomp.load_profile("x86_64")
ENGINE = Engine(
    init="/usr/bin/catatonit",
    ids=IdMap(),
    seccomp=PROFILE,
    unified=False,
    nofile=65536,
    hard_limits={"nofile": 20000},
)

ROOT = oci.Root("/r", hosts="/hosts", resolv_conf="/resolv.conf")


def container(engine: Engine = ENGINE, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "handle": "h",
        "cgroup": "/garden/h",
        "root": ROOT,
        "limits": Limits(),
    }
    return oci.container(engine, **{**arguments, **changes})


def pea(engine: Engine = ENGINE, **changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "container_pid": 17,
        "cgroup": "/garden/h/p",
        "root": ROOT,
        "limits": Limits(),
        "process": process(),
    }
    return oci.pea(engine, **{**arguments, **changes})


def process(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "args": ["sh"],
        "env": ["A=1"],
        "user": User(2000, 2001, (29,), "/home"),
        "directory": "/d",
        "rlimits": {},
    }
    return oci.process(ENGINE, **{**arguments, **changes})


def test_a_container_has_every_namespace_and_shifted_ids() -> None:
    linux = container()["linux"]

    assert {entry["type"] for entry in linux["namespaces"]} == {
        "pid",
        "ipc",
        "uts",
        "mount",
        "network",
        "user",
    }
    assert all("path" not in entry for entry in linux["namespaces"])  # the runtime makes them all
    assert (
        linux["uidMappings"] == linux["gidMappings"] == [{"containerID": 0, "hostID": 100000, "size": 65536}]
    )
    assert linux["cgroupsPath"] == "/garden/h"


def test_its_first_process_only_sleeps() -> None:
    found = container()

    assert found["process"]["args"] == ["/tmp/garden-init", "-P"]
    assert {
        "destination": "/tmp/garden-init",
        "type": "bind",
        "source": "/usr/bin/catatonit",
        "options": ["bind", "ro", "nosuid", "nodev"],
    } in found["mounts"]


def test_what_tells_of_the_host_is_masked() -> None:
    linux = container()["linux"]

    assert {"/proc/kcore", "/proc/keys", "/sys/firmware"} <= set(linux["maskedPaths"])
    assert "/proc/sys" in linux["readonlyPaths"]


def test_bind_mounts_come_last_and_keep_the_restrictions_of_their_source() -> None:
    mounts = [BindMount("/a", "/x"), BindMount("/b", "/y", writable=True)]

    root = replace(ROOT, bind_mounts=mounts, source_options={"/a": ("nodev", "noexec")})

    found = container(root=root)["mounts"]

    assert [mount["options"] for mount in found[-2:]] == [["bind", "ro", "nodev", "noexec"], ["bind", "rw"]]
    destinations = [mount["destination"] for mount in found]
    assert destinations[-4:] == ["/etc/hosts", "/etc/resolv.conf", "/x", "/y"]


def test_the_hostname_is_the_handles_end() -> None:
    assert container(handle="x" * 10 + "y" * 49)["hostname"] == "y" * 49


def test_limits_become_resources() -> None:
    limits = Limits(memory=64, cpu_shares=10, pids=5)

    resources = container(limits=limits)["linux"]["resources"]

    assert resources["memory"] == {"limit": 64, "swap": 64}
    assert resources["cpu"] == {"shares": 10}
    assert resources["pids"] == {"limit": 5}
    assert resources["devices"][0] == {"allow": False, "access": "rwm"}


def test_no_limits_are_no_resources_but_devices() -> None:
    assert set(container()["linux"]["resources"]) == {"devices"}


def test_swap_is_left_alone_where_it_is_not_counted() -> None:
    engine = replace(ENGINE, limit_swap=False)

    assert container(engine, limits=Limits(memory=64))["linux"]["resources"]["memory"] == {"limit": 64}


def test_on_cgroup_v2_shares_are_the_contracts_weight() -> None:
    engine = replace(ENGINE, unified=True)

    resources = pea(engine, limits=Limits(cpu_shares=1024))["linux"]["resources"]

    assert resources["unified"] == {"cpu.weight": "100"}
    assert "cpu" not in resources


def test_on_cgroup_v2_a_containers_limits_are_on_the_group_above_its_processes() -> None:
    engine = replace(ENGINE, unified=True, cpu_quota_per_share_us=100)
    limits = Limits(memory=64, cpu_shares=1024, pids=5)

    assert set(container(engine, limits=limits)["linux"]["resources"]) == {"devices"}
    assert oci.unified_limits(engine, limits) == {
        "memory.max": "64",
        "memory.swap.max": "0",
        "pids.max": "5",
        "cpu.weight": "100",
        "cpu.max": "102400 100000",
    }
    assert oci.unified_limits(engine, Limits()) == {}


def test_a_pea_shares_all_namespaces_of_its_container_but_the_mounts() -> None:
    namespaces = pea()["linux"]["namespaces"]

    assert namespaces[0] == {"type": "mount"}
    assert {entry["type"]: entry["path"] for entry in namespaces[1:]} == {
        "user": "/proc/17/ns/user",
        "pid": "/proc/17/ns/pid",
        "ipc": "/proc/17/ns/ipc",
        "uts": "/proc/17/ns/uts",
        "network": "/proc/17/ns/net",
    }
    assert "hostname" not in pea()  # it is the container's already


def test_a_pea_is_isolated_like_its_container() -> None:
    of_pea, of_container = pea(), container()

    for key in ("uidMappings", "gidMappings", "maskedPaths", "readonlyPaths", "seccomp", "resources"):
        assert of_pea["linux"][key] == of_container["linux"][key]
    without_init = [mount for mount in of_container["mounts"] if mount["destination"] != oci.INIT]
    assert of_pea["mounts"] == without_init
    assert of_pea["process"] == process()
    assert of_pea["linux"]["cgroupsPath"] == "/garden/h/p"


def test_a_peas_own_limits_are_its_groups() -> None:
    resources = pea(limits=Limits(memory=64, cpu_shares=10))["linux"]["resources"]

    assert resources["memory"] == {"limit": 64, "swap": 64}
    assert resources["cpu"] == {"shares": 10}


def test_shares_may_be_a_cap() -> None:
    engine = replace(ENGINE, cpu_quota_per_share_us=100)

    resources = container(engine, limits=Limits(cpu_shares=50))["linux"]["resources"]

    assert resources["cpu"] == {"shares": 50, "quota": 5000, "period": 100000}


def test_root_has_the_fourteen_capabilities_and_others_could_only_gain_them() -> None:
    root = process(user=User(0, 0))["capabilities"]
    other = process()["capabilities"]

    assert len(oci.CAPABILITIES) == 14
    assert "CAP_SYS_ADMIN" not in oci.CAPABILITIES
    assert root["effective"] == root["bounding"] == list(oci.CAPABILITIES)
    assert other["bounding"] == list(oci.CAPABILITIES)
    assert other["effective"] == other["permitted"] == other["ambient"] == []


def test_capabilities_go_by_the_uid_and_not_the_group() -> None:
    assert process(user=User(2000, 0))["capabilities"]["effective"] == []


def test_a_process_is_described_whole() -> None:
    found = process()

    assert found["user"] == {"uid": 2000, "gid": 2001, "umask": 0o022, "additionalGids": [29]}
    assert (found["args"], found["env"], found["cwd"]) == (["sh"], ["A=1"], "/d")
    assert found["terminal"] is found["noNewPrivileges"] is False


def test_resource_limits_stay_below_the_engines_own() -> None:
    assert process()["rlimits"] == [{"type": "RLIMIT_NOFILE", "soft": 20000, "hard": 20000}]
    assert process(rlimits={"nofile": 1024, "core": 0})["rlimits"] == [
        {"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
    ]


def action(name: str) -> list[tuple[str, int | None]]:
    rules = [rule for rule in PROFILE["syscalls"] if name in rule["names"]]
    return [(rule["action"], rule.get("errnoRet")) for rule in rules]


@pytest.mark.parametrize("name", ["unshare", "setns", "mount", "keyctl", "add_key", "bpf", "io_uring_setup"])
def test_dangerous_calls_are_not_permitted(name: str) -> None:
    assert action(name) == [("SCMP_ACT_ERRNO", 1)]


@pytest.mark.parametrize("name", ["read", "futex_waitv", "faccessat2", "close_range", "rseq", "ptrace"])
def test_everyday_calls_are_allowed_new_ones_too(name: str) -> None:
    assert action(name) == [("SCMP_ACT_ALLOW", None)]


def test_unknown_calls_do_not_exist() -> None:
    assert (PROFILE["defaultAction"], PROFILE["defaultErrnoRet"]) == ("SCMP_ACT_ERRNO", 38)


def test_clone_makes_no_namespaces_and_clone3_sends_libc_there() -> None:
    clone = [rule for rule in PROFILE["syscalls"] if rule["names"] == ["clone"]]
    refused = {rule["args"][0]["value"] for rule in clone if rule["action"] == "SCMP_ACT_ERRNO"}

    assert 0x10000000 in refused  # CLONE_NEWUSER
    assert clone[0]["args"][0]["value"] == sum(refused)
    assert action("clone3") == [("SCMP_ACT_ERRNO", 38)]
