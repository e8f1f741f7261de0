"""The command line against servers on loopback that answer what the test tells them to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from diego.cli.main import main
from support import pki
from support.scripted_server import ScriptedServer, serving


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    status: int
    out: str
    err: str


Diego = Callable[..., Ran]


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pki.write(
        tmp_path_factory.mktemp("pki"), "diego_bbs_server", "diego_bbs_client", "diego_rep_agent_v2"
    )


@pytest.fixture
def bbs(certificates: Path) -> Iterator[ScriptedServer]:
    with serving(certificates) as scripted:
        yield scripted


@pytest.fixture
def cell(certificates: Path) -> Iterator[ScriptedServer]:
    with serving(certificates, "diego_rep_agent_v2") as scripted:
        yield scripted


@pytest.fixture
def diego(
    bbs: ScriptedServer,
    certificates: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Diego:
    """Runs `diego WORDS` with the environment that a lab gives, at the scripted BBS."""
    environment = {
        "BBS_URL": bbs.url,
        "CA_CERT_FILE": str(certificates / "service_cf_internal_ca.crt"),
        "CLIENT_CERT_FILE": str(certificates / "diego_bbs_client.crt"),
        "CLIENT_KEY_FILE": str(certificates / "diego_bbs_client.key"),
        "APPS_DOMAIN": "apps.test",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("LOCKET_API_LOCATION", raising=False)
    monkeypatch.setattr("diego.cli.commands.run.POLL", 0.01)

    def run(*words: str) -> Ran:
        status = 0
        try:
            main(words)
        except SystemExit as ended:
            status = int(ended.code or 0)
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run
