"""A directory with a deployment's certificates: what is still good is kept, the rest is made.

`NAME.crt` and `NAME.key` of every authority and leaf. Keys are 0600, the directory 0700: it holds the
authorities' private keys and stays on the controller.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.exceptions import InvalidSignature

from diego.certificates.authority import Pair, issue, make_ca, names_of, usages_of
from diego.certificates.catalogue import Authority, Leaf


class CertificateError(Exception):
    """A certificate that was asked for cannot be made or used; the message names it."""


class Directory:
    """The certificates of one deployment, kept as files under `path`."""

    def __init__(self, path: Path, *, renew_within: timedelta = timedelta(days=30)) -> None:
        self.path = path
        self.renew_within = renew_within
        self.made: list[str] = []

    def ensure(self, authorities: Iterable[Authority], leaves: Iterable[Leaf]) -> list[str]:
        """Make what is missing, unusable, or about to end; the names of what was made."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.made = []
        known = {authority.name: authority for authority in authorities}
        for authority in known.values():
            self._ensure_authority(authority, known)
        for leaf in leaves:
            if leaf.ca not in known:
                raise CertificateError(f"{leaf.name}: there is no authority {leaf.ca}")
            self._ensure_leaf(leaf)
        return self.made

    def read(self, name: str) -> Pair | None:
        """The pair of that name, None if a file is missing or not a certificate with its key."""
        try:
            pair = Pair((self.path / f"{name}.crt").read_bytes(), (self.path / f"{name}.key").read_bytes())
            return pair if pair.belongs_together() else None
        except (OSError, ValueError, TypeError):
            return None

    def _write(self, name: str, pair: Pair) -> None:
        for suffix, content, mode in ((".key", pair.key_pem, 0o600), (".crt", pair.cert_pem, 0o644)):
            new = self.path / f".{name}{suffix}"
            new.touch(mode=mode)
            new.chmod(mode)
            new.write_bytes(content)
            new.rename(self.path / f"{name}{suffix}")
        self.made.append(name)

    def _ensure_authority(self, authority: Authority, known: dict[str, Authority]) -> None:
        signer = None
        if authority.signed_by is not None:
            if authority.signed_by not in known:
                raise CertificateError(f"{authority.name}: there is no authority {authority.signed_by}")
            signer = self.read(authority.signed_by)
        present = self.read(authority.name)
        if present and self._lasts(present) and _signed_by(present, signer or present):
            return
        self._write(authority.name, make_ca(authority.common_name, days=authority.days, signed_by=signer))

    def _ensure_leaf(self, leaf: Leaf) -> None:
        ca = self.read(leaf.ca)
        if ca is None:
            raise CertificateError(f"{leaf.name}: its authority {leaf.ca} has not been made")
        present = self.read(leaf.name)
        if present and self._lasts(present) and _signed_by(present, ca) and _says(present, leaf):
            return
        pair = issue(ca, leaf.common_name, leaf.sans, server=leaf.server, client=leaf.client, days=leaf.days)
        self._write(leaf.name, pair)

    def _lasts(self, pair: Pair) -> bool:
        return pair.certificate.not_valid_after_utc - datetime.now(UTC) > self.renew_within


def _signed_by(pair: Pair, ca: Pair) -> bool:
    try:
        pair.certificate.verify_directly_issued_by(ca.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _says(pair: Pair, leaf: Leaf) -> bool:
    names = {leaf.common_name, *leaf.sans}
    return names_of(pair.certificate) == names and usages_of(pair.certificate) == (leaf.server, leaf.client)
