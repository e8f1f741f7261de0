"""What a command works with: where the deployment is, who calls, and how to print."""

import ssl
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import click

from diego.bbs.client import BbsClient
from diego.cli.faults import Fault, Status
from diego.cli.output import Output
from diego.locket.client import LocketClient
from diego.runtime.http import HttpClient
from diego.runtime.tls import TlsError, client_context

HOW = "`. .lab/env` sets it for a lab"


@dataclass
class Session:
    """The options common to all commands, and the clients made from them when they are first needed."""

    bbs_url: str = ""
    locket_address: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    timeout: float = 10.0
    environment: dict[str, str] = field(default_factory=dict)
    output: Output = field(default_factory=Output)

    @cached_property
    def bbs(self) -> BbsClient:
        """The BBS. Raises Fault when its address or a certificate is not given."""
        url = self._given("BBS_URL", "--bbs-url", self.bbs_url)
        certificates = self._certificates()
        try:
            return BbsClient(url, **certificates, timeout=self.timeout)
        except (TlsError, ValueError) as error:
            raise Fault(str(error), status=Status.BAD_ARGUMENTS) from error

    @cached_property
    def locket(self) -> LocketClient:
        """Locket. Raises Fault when its address or a certificate is not given."""
        address = self._given("LOCKET_API_LOCATION", "--locket-api-location", self.locket_address)
        try:
            return LocketClient(address, **self._certificates(), timeout=self.timeout)
        except (OSError, ValueError) as error:
            raise Fault(str(error), status=Status.BAD_ARGUMENTS) from error

    def cell(self, rep_url: str) -> HttpClient:
        """The rep of a cell, at the address of its presence."""
        return HttpClient(rep_url, tls=self._tls, timeout=self.timeout)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
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


pass_session = click.make_pass_decorator(Session)
