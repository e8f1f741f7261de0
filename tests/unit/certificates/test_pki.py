import ssl
from pathlib import Path

from support import pki


def test_the_tests_certificates_load_as_a_server_asks(tmp_path: Path) -> None:
    directory = pki.write(tmp_path, "diego_bbs_server", "nats_server_cert")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "diego_bbs_server.crt", directory / "diego_bbs_server.key")
    context.load_verify_locations(directory / "ca.crt")

    assert (directory / "nats_ca.crt").exists()


def test_the_authority_beside_the_leaves_is_the_one_that_signed_them() -> None:
    signer = pki.authority()

    pki.certificate("diego_bbs_server").certificate.verify_directly_issued_by(signer.certificate)
    pki.certificate("diego_bbs_client", "service_cf_internal_ca").certificate.verify_directly_issued_by(
        pki.authority("service_cf_internal_ca").certificate
    )
