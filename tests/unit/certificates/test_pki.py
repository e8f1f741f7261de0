import ssl
from pathlib import Path

from support import pki


def test_the_tests_certificates_load_as_a_server_asks(tmp_path: Path) -> None:
    directory = pki.write(tmp_path, "diego_bbs_server", "nats_server_cert")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "diego_bbs_server.crt", directory / "diego_bbs_server.key")
    context.load_verify_locations(directory / "ca.crt")

    assert (directory / "nats_ca.crt").exists()
