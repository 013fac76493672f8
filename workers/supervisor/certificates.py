"""A private certificate authority for a fabric whose servers and edge are not on one machine.  RFC 5280.

For a fabric without a PKI of its own; where there is one, put its files in the same places.  The authority's key signs once and is not
written: to renew, run `weft init` into a new `tls` folder and roll the servers.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from streams.secretfile import write_secret

LIFE = timedelta(days=398)  # the longest that clients outside accept
BACKDATED = timedelta(minutes=5)  # for clocks behind


@dataclass(frozen=True, slots=True)
class Place:
    """Where one holder's certificate and key stand."""

    cert: Path
    key: Path


class Authority:
    """Lives as long as this object."""

    def __init__(self, name: str) -> None:
        self._key = generate_private_key(SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{name} authority")])
        ca = x509.BasicConstraints(ca=True, path_length=0)
        usage = _usage(key_cert_sign=True)
        self._cert = self._builder(self._name, self._key).add_extension(ca, critical=True).add_extension(usage, critical=True)
        self.pem = self._cert.sign(self._key, SHA256()).public_bytes(Encoding.PEM)

    def issue(self, place: Place, hosts: tuple[str, ...]) -> None:
        """A certificate for these names, good on both ends: nats-servers are each other's clients."""
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0])])
        both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        cert = (
            self._builder(subject, key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(both, critical=False)
            .add_extension(x509.SubjectAlternativeName([_name(host) for host in hosts]), critical=False)
            .sign(self._key, SHA256())
        )
        write_secret(place.key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        place.cert.write_bytes(cert.public_bytes(Encoding.PEM))

    def _builder(self, subject: x509.Name, key: EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        issuer = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + LIFE)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
        )


def _name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
