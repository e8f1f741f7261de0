"""TLS between jobs: both sides show certificates, TLS 1.2 or 1.3 (contract/bbs-api.md section 1).

Certificates are read once; a job picks up new files when it starts.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from diego.runtime.logs import get_logger

log = get_logger("tls")

SUITES = "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-GCM-SHA256"
"""For TLS 1.2; those of TLS 1.3 are all fine."""


class TlsError(Exception):
    """A certificate, key or bundle cannot be used; the text names the file."""


class _TellingObject(ssl.SSLObject):
    """A server's side of one connection that tells a refused client why.

    The event loops drop what is still to be sent when a handshake fails, and with it the alert. So the failure
    is kept for one more round: the alert goes out, and whatever happens next ends the connection. Only its words are kept:
    an error knows where it was raised, and so would keep the connection's memory.
    """

    _failure: tuple[Any, ...] | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise ssl.SSLError(*self._failure)
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            log.debug("handshake-failed", error=str(error))
            self._failure = error.args
            raise ssl.SSLWantReadError from error


def server_context(cert: str | Path, key: str | Path, ca: str | Path | None = None) -> ssl.SSLContext:
    """What a listener shows. With `ca`, callers must show a certificate that leads to it.

    Raises:
        TlsError: a file cannot be read, key and certificate do not belong together, or the certificate expired.
    """
    context = _context(ssl.PROTOCOL_TLS_SERVER, cert, key)
    context.sslobject_class = _TellingObject
    if ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, ca)
    return context


def client_context(cert: str | Path | None, key: str | Path | None, ca: str | Path | None) -> ssl.SSLContext:
    """What a caller shows (nothing without `cert`), and whom it trusts (the host's authorities without `ca`)."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, cert, key)
    if ca is None:
        context.load_default_certs()
    else:
        _trust(context, ca)
    return context


def _context(side: int, cert: str | Path | None, key: str | Path | None) -> ssl.SSLContext:
    context = ssl.SSLContext(side)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_ciphers(SUITES)
    if cert is not None and key is not None:
        _refuse_expired(Path(cert))
        try:
            context.load_cert_chain(cert, key)
        except (OSError, ssl.SSLError) as error:
            raise TlsError(f"{cert} with {key}: {error}") from error
    return context


def _trust(context: ssl.SSLContext, ca: str | Path) -> None:
    try:
        context.load_verify_locations(ca)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(f"{ca}: {error}") from error


def _refuse_expired(path: Path) -> None:
    """An expired certificate helps nobody: say so once, here, rather than in every peer's log."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise TlsError(f"{path}: {error}") from error
    if certificate.not_valid_after_utc < datetime.now(UTC):
        subject = certificate.subject.rfc4514_string()
        raise TlsError(
            f"{path}: {subject} expired on {certificate.not_valid_after_utc:%Y-%m-%d %H:%M:%S} UTC"
        )
