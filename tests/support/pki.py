"""Certificates for tests: a directory with `ca.crt` and a `.crt` and `.key` for each leaf asked for.

The leaves are the deployment's own, with the loopback names added, so that tests can call them there.
They are made once per test run and leaf.
"""

from dataclasses import replace
from functools import cache
from pathlib import Path

from diego.certificates import LEAVES, Pair, issue, make_ca

LOOPBACK = ("localhost", "127.0.0.1")
BY_NAME = {leaf.name: leaf for leaf in LEAVES}


def authority(name: str = "service_cf_internal_ca") -> Pair:
    return _authority(name)


@cache
def _authority(name: str) -> Pair:
    return make_ca(name, days=2)


def certificate(leaf_name: str, ca: str | None = None) -> Pair:
    """One leaf of the deployment, signed by its own test authority or by the one named."""
    return _certificate(leaf_name, ca or BY_NAME[leaf_name].ca)


@cache
def _certificate(leaf_name: str, ca: str) -> Pair:
    leaf = BY_NAME[leaf_name]
    leaf = replace(leaf, sans=tuple(dict.fromkeys((*leaf.sans, *LOOPBACK))))
    return issue(
        authority(ca),
        leaf.common_name,
        leaf.sans,
        server=leaf.server,
        client=leaf.client,
        days=1,
    )


DEFAULT_LEAVES = (
    "diego_bbs_server",
    "diego_bbs_client",
    "diego_auctioneer_server",
    "diego_auctioneer_client",
    "diego_rep_agent_v2",
    "diego_rep_client",
    "diego_locket_server",
    "diego_locket_client",
    "file_server_cert",
)


def write(directory: Path, *leaf_names: str) -> Path:
    """Write `ca.crt` (service_cf_internal_ca), and the leaves; those of other authorities bring `CA.crt`."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "ca.crt").write_bytes(authority().cert_pem)
    for name in leaf_names or DEFAULT_LEAVES:
        pair = certificate(name)
        (directory / f"{BY_NAME[name].ca}.crt").write_bytes(authority(BY_NAME[name].ca).cert_pem)
        (directory / f"{name}.crt").write_bytes(pair.cert_pem)
        key = directory / f"{name}.key"
        key.touch(mode=0o600)
        key.write_bytes(pair.key_pem)
    return directory
