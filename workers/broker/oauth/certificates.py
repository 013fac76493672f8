"""Client certificates, once TLS has verified that the client holds the key and that the chain ends in one of the edge's anchors.

RFC 8705 section 2, X509-SVID sections 2, 4 and 5, draft-ietf-oauth-spiffe-client-auth-02.  Pure.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal

from cryptography import x509
from weft.digest import b64u
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from schemas.facts import Client
from schemas.oauth import ClientCertificate
from workers.broker.oauth.refusals import not_authenticated


@dataclass(frozen=True, slots=True)
class Presented:
    """What the certificate says."""

    anchor: Literal["ca", "spiffe", "self_signed"]
    der: bytes
    x5t: str  # RFC 8705 section 3.1, `x5t#S256`
    exp: int
    workload: str | None  # the SPIFFE ID of an X.509-SVID whose chain ended in the trust domain's bundle
    names: x509.SubjectAlternativeName | None
    subject: x509.Name


def read_certificate(carried: ClientCertificate, now: float) -> Presented:
    """Raises OAuthRefused for what is no certificate, or none of this moment."""
    try:
        der = base64.b64decode(carried.der, validate=True)
        certificate = x509.load_der_x509_certificate(der)
        names = _names(certificate)
        starts, ends = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
    except ValueError:
        raise not_authenticated("the client's authentication does not hold") from None
    if not starts <= now < ends:
        raise not_authenticated("the client's authentication does not hold")
    workload = _workload(certificate, names) if carried.anchor == "spiffe" else None
    return Presented(carried.anchor, der, x5t_of(der), int(ends), workload, names, certificate.subject)


def x5t_of(der: bytes) -> str:
    """RFC 8705 section 3.1."""
    return b64u(hashlib.sha256(der).digest())


def matches_client(presented: Presented, client: Client) -> bool:
    """The certificate is this client's, by the method that it is registered with."""
    if client.auth_method == "self_signed_tls_client_auth":
        return presented.anchor == "self_signed" and presented.der in _registered(client)
    if client.auth_method == "tls_client_auth" and client.certificate is not None:
        return presented.anchor == "ca" and _subject_matches(presented, client)
    return False


def _subject_matches(presented: Presented, client: Client) -> bool:
    """RFC 8705 section 2.1.2: exactly one of five, compared as registered."""
    wanted, names = client.certificate, presented.names
    if wanted is None:
        return False
    try:
        if wanted.subject_dn is not None:
            return presented.subject == x509.Name.from_rfc4514_string(wanted.subject_dn)
        if names is None:
            return False
        if wanted.san_ip is not None:
            return ip_address(wanted.san_ip) in names.get_values_for_type(x509.IPAddress)
    except ValueError:
        return False
    return (
        (wanted.san_dns is not None and wanted.san_dns in names.get_values_for_type(x509.DNSName))
        or (wanted.san_uri is not None and wanted.san_uri in names.get_values_for_type(x509.UniformResourceIdentifier))
        or (wanted.san_email is not None and wanted.san_email in names.get_values_for_type(x509.RFC822Name))
    )


def _registered(client: Client) -> list[bytes]:
    """RFC 8705 section 2.2.2: the certificates of its JWKS, by `x5c`."""
    found = []
    for jwk in (client.jwks or {}).get("keys", ()):
        chain = jwk.get("x5c") or [""]
        try:
            found.append(base64.b64decode(chain[0], validate=True))
        except (ValueError, TypeError):
            continue
    return found


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None


def _workload(certificate: x509.Certificate, names: x509.SubjectAlternativeName | None) -> str | None:
    """X509-SVID: a leaf for signatures, with exactly one URI name, a SPIFFE ID with a path."""
    uris = names.get_values_for_type(x509.UniformResourceIdentifier) if names is not None else []
    if len(uris) != 1 or not _is_leaf(certificate):
        return None
    try:
        return str(SpiffeID.parse(uris[0])) if SpiffeID.parse(uris[0]).segments else None
    except (InvalidSpiffeID, UnicodeEncodeError):
        return None


def _is_leaf(certificate: x509.Certificate) -> bool:
    extensions = certificate.extensions
    try:
        if extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
    except x509.ExtensionNotFound:
        pass
    try:
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return usage.digital_signature and not usage.key_cert_sign and not usage.crl_sign
