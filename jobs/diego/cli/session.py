"""What a command works with: where the deployment is, who calls, and how to print.

Clients are loaded when a command first needs them: most of a short command's time would go into loading what it
does not use.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from diego.cli.faults import NOT_REACHED, Fault, Status
from diego.cli.output import Output

if TYPE_CHECKING:
    import ssl

    from diego.bbs.client import BbsClient
    from diego.cli.asking import Asker
    from diego.locket.client import LocketClient
    from diego.runtime.http import HttpClient

HOW = "`. .lab/env` sets it for a lab"
AUCTIONEER_URL = "https://auctioneer.service.cf.internal:9016"


@dataclass
class Session:
    """The options common to all commands, and the clients made from them when they are first needed."""

    bbs_url: str = ""
    locket_address: str = ""
    auctioneer_url: str = AUCTIONEER_URL
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    timeout: float = 10.0
    environment: dict[str, str] = field(default_factory=dict)
    output: Output = field(default_factory=Output)

    @cached_property
    def bbs(self) -> "BbsClient":
        """The BBS. Raises Fault when its address or a certificate is not given."""
        from diego.bbs.client import BbsClient
        from diego.runtime.tls import TlsError

        url = self._given("BBS_URL", "--bbs-url", self.bbs_url)
        certificates = self._certificates()
        quiet()
        try:
            return BbsClient(url, **certificates, timeout=self.timeout)
        except (TlsError, ValueError) as error:
            raise Fault(str(error), status=Status.BAD_ARGUMENTS) from error

    @cached_property
    def locket(self) -> "LocketClient":
        """Locket. Raises Fault when its address or a certificate is not given."""
        from diego.locket.client import LocketClient

        address = self._given("LOCKET_API_LOCATION", "--locket-api-location", self.locket_address)
        quiet()
        try:
            return LocketClient(address, **self._certificates(), timeout=self.timeout)
        except (OSError, ValueError) as error:
            raise Fault(str(error), status=Status.BAD_ARGUMENTS) from error

    def cell(self, rep_url: str) -> "HttpClient":
        """The rep of a cell, at the address of its presence."""
        from diego.runtime.http import HttpClient

        quiet()
        return HttpClient(rep_url, tls=self._tls, timeout=self.timeout)

    @cached_property
    def asker(self) -> "Asker":
        """For quick questions. Raises Fault when a certificate is not given."""
        from diego.cli.asking import Asker, caller

        files = self._certificates()
        try:
            return Asker(caller(files["cert_file"], files["key_file"], files["ca_file"]), self.timeout)
        except ValueError as error:
            raise Fault(str(error), status=Status.BAD_ARGUMENTS) from error

    def ask_bbs(self, path: str) -> Any:
        """What the BBS answers in JSON to GET `path`.

        Raises:
            Fault: an address is not given, the BBS cannot be reached, or it is one that does not know `path`.
        """
        from diego.cli.asking import NotAnswered

        url = self._given("BBS_URL", "--bbs-url", self.bbs_url)
        asker = self.asker
        try:
            return asker.json(url, path)
        except NotAnswered as error:
            if error.status == 404:
                raise Fault(
                    "this BBS does not know that question: it is an original one, or an older release",
                    hint="the commands that cfdot has work all the same, as `diego actual-lrps`",
                    status=Status.REFUSED,
                ) from error
            if error.status == 400 and error.told:
                raise Fault(f"the BBS refused: {error.told}", status=Status.REFUSED) from error
            raise Fault(f"the BBS cannot be reached: {error}", hint=NOT_REACHED) from error

    @cached_property
    def _tls(self) -> "ssl.SSLContext":
        from diego.runtime.tls import TlsError, client_context

        files = self._certificates()
        try:
            return client_context(files["cert_file"], files["key_file"], files["ca_file"])
        except TlsError as error:
            raise Fault(str(error), status=Status.BAD_ARGUMENTS) from error

    def _certificates(self) -> dict[str, Any]:
        files = {
            "ca_file": self._given("CA_CERT_FILE", "--ca-cert-file", self.ca_file),
            "cert_file": self._given("CLIENT_CERT_FILE", "--client-cert-file", self.cert_file),
            "key_file": self._given("CLIENT_KEY_FILE", "--client-key-file", self.key_file),
        }
        for name in files.values():
            if not Path(name).is_file():
                raise Fault(f"there is no file {name}", status=Status.BAD_ARGUMENTS)
        return files

    @staticmethod
    def _given(variable: str, option: str, value: str) -> str:
        if not value:
            raise Fault(
                f"{variable} is not set", hint=f"or give {option}; {HOW}", status=Status.BAD_ARGUMENTS
            )
        return value

    def close(self) -> None:
        """Give back the connections that were made."""
        for name in ("bbs", "locket"):
            client = self.__dict__.get(name)
            if client is not None:
                client.close()


def quiet() -> None:
    """The clients' own logs are for jobs; a command says what went wrong in one line."""
    from diego.runtime import logs

    logs.configure(level="fatal", descriptor=2)


pass_session = click.make_pass_decorator(Session)
