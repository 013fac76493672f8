"""Mutual TLS at the edge: which client certificates the handshake takes, and what a connection showed.  RFC 8705 sections 2 and 7.3.

OpenSSL proves that the client holds the key and that its chain ends in an anchor; this names the anchor, so that no method believes
another's: authorities for `tls_client_auth`, the trust domain's bundle for X.509-SVIDs (never the system's store), and the certificates
that clients registered themselves.  Whose the certificate is, the broker judges.

A certificate that a proxy forwards in a header is never read: who ends TLS elsewhere offers no method of mutual TLS.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, cast

import structlog
import uvicorn
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding
from starlette.requests import Request

from config.settings import Settings
from schemas.keys import JWKSet
from schemas.oauth import ClientCertificate
from workers.common import log
from workers.common.httpconnections import HTTPProtocol
from workers.edge.keys import KeysUnavailable

REFRESH_S = 15.0  # for the certificates that clients registered; one that was taken out is refused by the broker at once
logger = structlog.get_logger()


class TLSProtocol(HTTPProtocol):
    """The same, with the connection's TLS among the state of each request (the ASGI TLS extension is not in uvicorn)."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "tls": transport.get_extra_info("ssl_object")}


class ClientCertificates:
    """The anchors of the handshake, and the certificate of a request."""

    def __init__(self, settings: Settings) -> None:
        self._authorities = _read(settings.edge_client_ca)
        self._spiffe = _read(settings.edge_spiffe_ca)
        self._registered: set[bytes] = set()
        self._context: ssl.SSLContext | None = None

    def context(self, _config: uvicorn.Config, default: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
        """For uvicorn: asks for a certificate, takes none as well, and refuses the handshake of one that no anchor vouches for."""
        context = default()
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.verify_mode = ssl.CERT_OPTIONAL
        for certificate in (*self._authorities, *self._spiffe):
            context.load_verify_locations(cadata=certificate.public_bytes(Encoding.DER))
        self._context = context
        for der in self._registered:
            context.load_verify_locations(cadata=der)
        return context

    def register(self, certificates: Iterable[bytes]) -> None:
        """More anchors, for handshakes from now on.  OpenSSL forgets none; the broker asks the facts whose a certificate is."""
        for der in set(certificates) - self._registered:
            try:
                x509.load_der_x509_certificate(der)
                if self._context is not None:
                    self._context.load_verify_locations(cadata=der)
            except (ValueError, ssl.SSLError):
                continue
            self._registered.add(der)

    async def follow(self, keys: Callable[[], Awaitable[JWKSet]]) -> None:
        """For the worker's life: the certificates that clients registered."""
        while True:
            try:
                self.register(_certificates(await keys()))
            except KeysUnavailable as error:
                logger.warning(log.CLIENT_CERTIFICATES_UNAVAILABLE, detail=str(error))
            await asyncio.sleep(REFRESH_S)

    def of(self, request: Request) -> ClientCertificate | None:
        """What the connection of this request showed."""
        tls = cast("ssl.SSLObject | None", request.scope.get("state", {}).get("tls"))
        der = None if tls is None else tls.getpeercert(binary_form=True)
        return None if der is None else self._named(der)

    def _named(self, der: bytes) -> ClientCertificate | None:
        if der in self._registered:
            return _carried(der, "self_signed")
        leaf = x509.load_der_x509_certificate(der)
        if _issued_by(leaf, self._spiffe):
            return _carried(der, "spiffe")
        return _carried(der, "ca") if _issued_by(leaf, self._authorities) else None


def _read(path: Path | None) -> tuple[x509.Certificate, ...]:
    """Authorities, and the intermediates that issue for them: whoever signs a leaf stands in the file."""
    return () if path is None else tuple(x509.load_pem_x509_certificates(path.read_bytes()))


def _issued_by(leaf: x509.Certificate, authorities: Iterable[x509.Certificate]) -> bool:
    for authority in authorities:
        try:
            leaf.verify_directly_issued_by(authority)
        except (ValueError, TypeError, InvalidSignature):
            continue
        return True
    return False


def _carried(der: bytes, anchor: Any) -> ClientCertificate:
    return ClientCertificate(der=base64.b64encode(der).decode(), anchor=anchor)


def _certificates(found: JWKSet) -> list[bytes]:
    """Of each key that has one, `x5c` (RFC 7517 section 4.7)."""
    ders = []
    for jwk in found.keys:
        chain = jwk.get("x5c") or ()
        try:
            ders += [base64.b64decode(text, validate=True) for text in list(chain)[:1]]
        except (ValueError, TypeError):
            continue
    return ders
