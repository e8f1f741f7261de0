import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from diego.certificates import (
    AUTHORITIES,
    LEAVES,
    Authority,
    CertificateError,
    Directory,
    Leaf,
    issue,
    make_ca,
)
from diego.certificates.authority import names_of, usages_of

CA = Authority("ca", "internalCA")
A_LEAF = Leaf("web", "ca", "web.internal", ("*.web.internal", "127.0.0.1"), server=True)


def test_a_leaf_carries_its_common_name_among_its_names() -> None:
    leaf = issue(make_ca("ca", days=1), "bbs-client", [], server=False, client=True, days=1)

    assert names_of(leaf.certificate) == {"bbs-client"}
    assert usages_of(leaf.certificate) == (False, True)


def test_openssl_trusts_a_leaf_of_an_intermediate(tmp_path: Path) -> None:
    root = make_ca("appRootCA", days=2)
    intermediate = make_ca("instanceIdentityCA", days=2, signed_by=root)
    intermediate.certificate.verify_directly_issued_by(root.certificate)
    leaf = issue(intermediate, "app", ["localhost"], server=True, client=True, days=1)
    chain, key = tmp_path / "chain", tmp_path / "key"
    chain.write_bytes(leaf.cert_pem + intermediate.cert_pem)
    key.write_bytes(leaf.key_pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(chain, key)
    client = ssl.create_default_context(cadata=root.cert_pem.decode())

    assert handshake(client, server, "localhost") == "TLSv1.3"


def handshake(client: ssl.SSLContext, server: ssl.SSLContext, name: str) -> str | None:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    near = client.wrap_bio(down, up, server_hostname=name)
    far = server.wrap_bio(up, down, server_side=True)
    for _ in range(4):
        for end in (near, far):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return near.version()


def test_a_second_run_makes_nothing(tmp_path: Path) -> None:
    directory = Directory(tmp_path)

    assert directory.ensure([CA], [A_LEAF]) == ["ca", "web"]
    assert directory.ensure([CA], [A_LEAF]) == []


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    Directory(tmp_path / "new").ensure([CA], [A_LEAF])

    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new/web.key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new/ca.key").stat().st_mode) == 0o600


def test_a_leaf_that_says_something_else_is_made_anew(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.ensure([CA], [A_LEAF])

    other = Leaf("web", "ca", "web.internal", ("other.internal",), server=True)

    assert directory.ensure([CA], [other]) == ["web"]


def test_a_new_authority_brings_new_leaves(tmp_path: Path) -> None:
    directory = Directory(tmp_path)
    directory.ensure([CA], [A_LEAF])
    (tmp_path / "ca.crt").write_text("broken")

    assert directory.ensure([CA], [A_LEAF]) == ["ca", "web"]


def test_what_ends_soon_is_made_anew(tmp_path: Path) -> None:
    Directory(tmp_path).ensure([CA], [A_LEAF])

    patient = Directory(tmp_path, renew_within=timedelta(days=400))

    assert patient.ensure([CA], [A_LEAF]) == ["web"]


def test_a_leaf_without_its_authority_is_named(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="web: there is no authority ca"):
        Directory(tmp_path).ensure([], [A_LEAF])


def test_every_leaf_of_the_catalogue_has_an_authority_and_a_use() -> None:
    names = {authority.name for authority in AUTHORITIES}

    assert {leaf.ca for leaf in LEAVES} <= names
    assert all(leaf.server or leaf.client for leaf in LEAVES)


def test_the_routers_certificate_names_the_deployments_domain() -> None:
    leaf = next(leaf for leaf in LEAVES if leaf.name == "router_ssl").within("diego.test")

    assert leaf.sans == ("diego.test", "*.diego.test")
