"""Signing: a certificate authority, and a leaf signed by it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

KEY_BITS = 2048
CLOCK_SKEW = timedelta(hours=1)
"""How far in the past a certificate begins, so that a host whose clock is slow accepts it."""


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key, both PEM."""

    cert_pem: bytes
    key_pem: bytes

    @cached_property
    def certificate(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.cert_pem)

    @cached_property
    def key(self) -> rsa.RSAPrivateKey:
        key = serialization.load_pem_private_key(self.key_pem, password=None)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise TypeError("not an RSA key")
        return key

    def belongs_together(self) -> bool:
        """Whether the key is the certificate's."""
        return self.certificate.public_key() == self.key.public_key()


def make_ca(common_name: str, *, days: int, signed_by: Pair | None = None) -> Pair:
    """A new authority, valid for `days` from now: a root, or an intermediate when `signed_by` is given."""
    key = _new_key()
    name = _name(common_name)
    builder = _begin(name, signed_by.certificate.subject if signed_by else name, key, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
    return _sign(builder, key, signed_by or Pair(b"", _pem(key)), signed_by)


def issue(ca: Pair, common_name: str, sans: Sequence[str], *, server: bool, client: bool, days: int) -> Pair:
    """A new leaf of `ca`. `sans` are names or addresses; the common name is always among them."""
    key = _new_key()
    names = dict.fromkeys([common_name, *sans])
    usages = [
        *([ExtendedKeyUsageOID.SERVER_AUTH] if server else []),
        *([ExtendedKeyUsageOID.CLIENT_AUTH] if client else []),
    ]
    builder = _begin(_name(common_name), ca.certificate.subject, key, days)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    builder = builder.add_extension(
        x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
    )
    return _sign(builder, key, ca, ca)


def names_of(certificate: x509.Certificate) -> set[str]:
    """The subject alternative names of a certificate, addresses as text; empty if it has none."""
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return set()
    names = extension.value.get_values_for_type(x509.DNSName)
    addresses = extension.value.get_values_for_type(x509.IPAddress)
    return {*names, *(str(address) for address in addresses)}


def usages_of(certificate: x509.Certificate) -> tuple[bool, bool]:
    """Whether a certificate may be shown by a server, and whether by a client."""
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False, False
    return ExtendedKeyUsageOID.SERVER_AUTH in usages, ExtendedKeyUsageOID.CLIENT_AUTH in usages


def _new_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _begin(
    subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(subject_name=subject, issuer_name=issuer)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - CLOCK_SKEW).not_valid_after(now + timedelta(days=days))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _sign(
    builder: x509.CertificateBuilder, key: rsa.RSAPrivateKey, signer: Pair, issuer: Pair | None
) -> Pair:
    public = issuer.certificate.public_key() if issuer else key.public_key()
    if not isinstance(public, rsa.RSAPublicKey):
        raise TypeError("the authority's key is not RSA")
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
    certificate = builder.add_extension(identifier, critical=False).sign(signer.key, hashes.SHA256())
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), _pem(key))
