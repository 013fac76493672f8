"""A provider that speaks SAML, for tests: assertions of both versions, and XML signatures made without the library that verifies them."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree
from weft.digest import b64u

from tests.support.identities import NOW

IDP, FABRIC, ENDPOINT = "https://idp.88mph.com/saml", "https://fabric.88mph.com", "https://as.88mph.com/oauth/token"
SAML1, SAML2 = "urn:oasis:names:tc:SAML:1.0:assertion", "urn:oasis:names:tc:SAML:2.0:assertion"
DS, DIGESTS, MORE = "http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/04/xmlenc#", "http://www.w3.org/2001/04/xmldsig-more#"
EXCLUSIVE, ENVELOPED = "http://www.w3.org/2001/10/xml-exc-c14n#", f"{DS}enveloped-signature"
RSA_SHA256 = f"{MORE}rsa-sha256"
BEARER2, HOLDER2 = (f"urn:oasis:names:tc:SAML:2.0:cm:{method}" for method in ("bearer", "holder-of-key"))
BEARER1, HOLDER1 = (f"urn:oasis:names:tc:SAML:1.0:cm:{method}" for method in ("bearer", "holder-of-key"))
_HASH: dict[str, Any] = {
    "sha1": hashes.SHA1,
    "sha224": hashes.SHA224,
    "sha256": hashes.SHA256,
    "sha384": hashes.SHA384,
    "sha512": hashes.SHA512,
}


def at(seconds: float) -> str:
    """xs:dateTime."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Provider:
    """A key and the certificate that its metadata shows."""

    def __init__(self, private: Any = None, *, days: tuple[int, int] = (-1, 4000), hash_: Any = hashes.SHA256) -> None:
        self.private = private or rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "idp")])
        start = datetime.fromtimestamp(NOW, UTC)
        builder = x509.CertificateBuilder(name, name, self.private.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(start + timedelta(days=days[0])).not_valid_after(start + timedelta(days=days[1]))
        self.certificate = builder.sign(self.private, hash_())

    @property
    def der(self) -> str:
        """As `<ds:X509Certificate>` has it."""
        return base64.b64encode(self.certificate.public_bytes(Encoding.DER)).decode()

    def fact(self, **changes: Any) -> dict[str, Any]:
        same = {"same_people_as": "https://login.88mph.com"}  # one directory, which speaks both
        return {"kind": "issuer", "iss": IDP, "aud": FABRIC, "saml_certificates": [self.der], **same, **changes}

    def sign(self, method: str, data: bytes) -> bytes:
        """XML Signature 1.1 section 6.4, whatever the algorithm is worth."""
        name = method.rpartition("#")[2]
        if name.startswith("hmac"):
            return hmac.new(self.certificate.public_bytes(Encoding.PEM), data, name.removeprefix("hmac-")).digest()
        hash_ = _HASH[next(each for each in _HASH if each in name)]()
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            size = (self.private.key_size + 7) // 8
            return b"".join(part.to_bytes(size) for part in decode_dss_signature(self.private.sign(data, ec.ECDSA(hash_))))
        pss = padding.PSS(padding.MGF1(hash_), hash_.digest_size)
        return self.private.sign(data, pss if name.endswith("MGF1") else padding.PKCS1v15(), hash_)


PROVIDER = Provider()

# --- assertions -------------------------------------------------------------------------------------------------------------------


def saml2(**changes: Any) -> str:
    """An assertion of marty for the fabric, unsigned, changed; what is None is left out."""
    said: dict[str, Any] = {
        "id": "_a1", "version": "2.0", "issuer": IDP, "issued": at(NOW), "name": "marty", "name_attributes": "", "begins": at(NOW),
        "ends": at(NOW + 120), "audiences": [[FABRIC]], "conditions": "", "statements": AUTHN2, "more": "", "subject": None,
        "confirmation": bearer2(),
    }  # fmt: skip
    said |= changes
    restrictions = "".join(_restriction("saml:AudienceRestriction", audiences) for audiences in said["audiences"])
    subject = said["subject"] or f"<saml:NameID{said['name_attributes']}>{escape(said['name'])}</saml:NameID>{said['confirmation']}"
    return (
        f'<saml:Assertion xmlns:saml="{SAML2}"{_attributes(ID=said["id"], Version=said["version"], IssueInstant=said["issued"])}>'
        f"<saml:Issuer>{escape(said['issuer'])}</saml:Issuer><saml:Subject>{subject}</saml:Subject>"
        f"<saml:Conditions{_attributes(NotBefore=said['begins'], NotOnOrAfter=said['ends'])}>{restrictions}{said['conditions']}"
        f"</saml:Conditions>{said['statements']}{said['more']}</saml:Assertion>"
    )


def saml1(**changes: Any) -> str:
    """The same in SAML 1.1."""
    said: dict[str, Any] = {
        "id": "_a1", "version": "1", "issuer": IDP, "issued": at(NOW), "name": "marty", "name_attributes": "", "begins": at(NOW),
        "ends": at(NOW + 120), "audiences": [[FABRIC]], "conditions": "", "confirmation": bearer1(), "more": "", "statements": None,
    }  # fmt: skip
    said |= changes
    restrictions = "".join(_restriction("saml:AudienceRestrictionCondition", audiences) for audiences in said["audiences"])
    subject = subject1(said["name"], said["confirmation"], said["name_attributes"])
    statements = said["statements"] or (
        f'<saml:AuthenticationStatement AuthenticationMethod="urn:oasis:names:tc:SAML:1.0:am:password"'
        f' AuthenticationInstant="{at(NOW)}">{subject}</saml:AuthenticationStatement>'
    )
    names = _attributes(AssertionID=said["id"], MajorVersion="1", MinorVersion=said["version"], Issuer=said["issuer"])
    return (
        f'<saml:Assertion xmlns:saml="{SAML1}"{names}{_attributes(IssueInstant=said["issued"])}>'
        f"<saml:Conditions{_attributes(NotBefore=said['begins'], NotOnOrAfter=said['ends'])}>{restrictions}{said['conditions']}"
        f"</saml:Conditions>{statements}{said['more']}</saml:Assertion>"
    )


AUTHN2 = (
    f'<saml:AuthnStatement AuthnInstant="{at(NOW)}"><saml:AuthnContext><saml:AuthnContextClassRef>'
    "urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"
)


def bearer2(recipient: str | None = ENDPOINT, *, method: str = BEARER2, inner: str = "", **more: str | None) -> str:
    """A SubjectConfirmation; `more`: attributes of its data."""
    data = _attributes(**{"Recipient": recipient, "NotOnOrAfter": at(NOW + 120), **more})
    return (
        f'<saml:SubjectConfirmation Method="{method}"><saml:SubjectConfirmationData{data}>{inner}</saml:SubjectConfirmationData>'
        "</saml:SubjectConfirmation>"
    )


def bearer1(method: str = BEARER1, inner: str = "") -> str:
    return f"<saml:SubjectConfirmation><saml:ConfirmationMethod>{method}</saml:ConfirmationMethod>{inner}</saml:SubjectConfirmation>"


def subject1(name: str, confirmation: str | None = None, attributes: str = "") -> str:
    named = f"<saml:NameIdentifier{attributes}>{escape(name)}</saml:NameIdentifier>"
    return f"<saml:Subject>{named}{bearer1() if confirmation is None else confirmation}</saml:Subject>"


def key_info(der: str) -> str:
    return f'<ds:KeyInfo xmlns:ds="{DS}"><ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>'


def _restriction(tag: str, audiences: Iterable[str]) -> str:
    return f"<{tag}>{''.join(f'<saml:Audience>{escape(audience)}</saml:Audience>' for audience in audiences)}</{tag}>"


def _attributes(**named: str | None) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in named.items() if value is not None)


# --- signatures -------------------------------------------------------------------------------------------------------------------


def c14n(element: Any, algorithm: str = EXCLUSIVE) -> bytes:
    return etree.tostring(
        element, method="c14n", exclusive=algorithm.startswith(EXCLUSIVE), with_comments=algorithm.endswith("WithComments")
    )


def signature(
    xml: str,
    provider: Provider = PROVIDER,
    *,
    method: str = RSA_SHA256,
    digest: str = f"{DIGESTS}sha256",
    canonical: str = EXCLUSIVE,
    transforms: Iterable[str] = (ENVELOPED, EXCLUSIVE),
    uri: str | None = None,
    references: int = 1,
    more: str = "",
) -> str:
    """The Signature of this document's root."""
    root = etree.fromstring(xml)
    id_ = root.get("ID") or root.get("AssertionID")
    hashed = hashlib.new(digest.rpartition("#")[2], c14n(root, [*transforms, EXCLUSIVE][1])).digest()
    steps = "".join(f'<ds:Transform Algorithm="{transform}"></ds:Transform>' for transform in transforms)
    reference = (
        f'<ds:Reference URI="{f"#{id_}" if uri is None else uri}"><ds:Transforms>{steps}</ds:Transforms>'
        f'<ds:DigestMethod Algorithm="{digest}"></ds:DigestMethod>'
        f"<ds:DigestValue>{base64.b64encode(hashed).decode()}</ds:DigestValue></ds:Reference>"
    )
    info = (
        f'<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{canonical}"></ds:CanonicalizationMethod>'
        f'<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>{reference * references}</ds:SignedInfo>'
    )
    value = base64.b64encode(provider.sign(method, c14n(etree.fromstring(info), canonical))).decode()
    return (
        f'<ds:Signature xmlns:ds="{DS}">{info}<ds:SignatureValue>{value}</ds:SignatureValue>{key_info(provider.der)}{more}</ds:Signature>'
    )


def with_signature(xml: str, signed: str) -> str:
    """In its place: after the Issuer in SAML 2.0, last in SAML 1.1."""
    end = "</saml:Issuer>"
    return xml.replace(end, end + signed, 1) if end in xml else xml.removesuffix("</saml:Assertion>") + signed + "</saml:Assertion>"


def signed(xml: str, provider: Provider = PROVIDER, **how: Any) -> str:
    """The assertion with its signature."""
    return with_signature(xml, signature(xml, provider, **how))


def token(xml: str | bytes) -> str:
    """As a subject token."""
    return b64u(xml.encode() if isinstance(xml, str) else xml)


MAKERS: dict[str, Callable[..., str]] = {"saml1": saml1, "saml2": saml2}
