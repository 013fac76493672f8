"""Certificates for tests: an authority, leaves with any names, self-signed ones."""

from __future__ import annotations

import base64
import ipaddress
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from schemas.oauth import ClientCertificate
from tests.support.identities import NOW

START = datetime.fromtimestamp(0, UTC) + timedelta(days=1)
_NAMES: dict[str, Any] = {
    "dns": x509.DNSName,
    "uri": x509.UniformResourceIdentifier,
    "email": x509.RFC822Name,
    "ip": lambda text: x509.IPAddress(ipaddress.ip_address(text)),
}


class Leaf:
    """A key and its certificate."""

    def __init__(
        self,
        *names: tuple[str, str],
        by: Leaf | None = None,
        subject: str = "CN=client",
        ca: bool = False,
        usage: bool = True,
        until: float = NOW + 3600,
    ) -> None:
        self.private = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name.from_rfc4514_string(subject)
        issuer = by.certificate.subject if by is not None else name
        made = (
            x509.CertificateBuilder(issuer, name, self.private.public_key(), x509.random_serial_number())
            .not_valid_before(START)
            .not_valid_after(datetime.fromtimestamp(until, UTC))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if usage:
            made = made.add_extension(_usage(ca=ca), critical=True)
        if names:
            made = made.add_extension(x509.SubjectAlternativeName([_NAMES[kind](value) for kind, value in names]), critical=False)
        self.certificate = made.sign(by.private if by is not None else self.private, hashes.SHA256())

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

    @property
    def jwk(self) -> dict[str, Any]:
        """With the certificate in `x5c`."""
        public = json.loads(ECAlgorithm.to_jwk(self.private.public_key()))
        return {**public, "kid": "one", "x5c": [base64.b64encode(self.der).decode()]}

    def presented(self, anchor: Any) -> ClientCertificate:
        """As the edge hands it on."""
        return ClientCertificate(der=base64.b64encode(self.der).decode(), anchor=anchor)


def _usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
