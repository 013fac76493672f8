"""From base64url to the one element that was signed.  XML Signature 1.1, as section 5.4 of SAML 1.1 core and of SAML 2.0 core narrow it.

Everything that is read later comes from what signxml returns as signed: canonical bytes, parsed again.  Around it stand rules that leave
a wrapped signature no place to be (XSW: a signature that holds, over an element that nobody reads):

1. No `<!` and no processing instruction reaches the parser: no DTD, entity, comment or CDATA.  The parser loads nothing.
2. The root is an Assertion of the version asked for, and there is no other in the document, in no namespace.
3. One Signature in the document, a child of the root, made of SignedInfo, SignatureValue and KeyInfo: no Object to hide in.
4. One Reference, to the root's own ID.  Its transforms are enveloped-signature and exclusive c14n (SAML: no others), in this order.
5. RSA or ECDSA with SHA-256, 384 or 512, by a certificate of the provider's fact.  KeyInfo is never read.

Nothing here repeats the input, and signxml's own log, which prints what it canonicalizes, is shut.
"""

from __future__ import annotations

import binascii
import logging
import re
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from cryptography import x509
from lxml import etree
from signxml.algorithms import DigestAlgorithm, SignatureMethod
from signxml.verifier import SignatureConfiguration, XMLVerifier

from schemas.reasons import DenyReason
from workers.common.credentials import IdentityRefused

MAX_ASSERTION_CHARS = 24_576  # of base64url: 18 KiB of XML, one with hundreds of groups
MAX_NODES = 1000  # elements and attributes: what an assertion made to be slow costs is a few milliseconds
SAML1, SAML2 = "urn:oasis:names:tc:SAML:1.0:assertion", "urn:oasis:names:tc:SAML:2.0:assertion"
DS, XENC = "http://www.w3.org/2000/09/xmldsig#", "http://www.w3.org/2001/04/xmlenc#"
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
ENVELOPED = f"{DS}enveloped-signature"
ID_OF = {SAML1: "AssertionID", SAML2: "ID"}

_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}", re.ASCII)  # RFC 7522 section 2.1: padding SHOULD NOT be there
_DECLARATION = re.compile(r"\A\ufeff?<\?xml [^<>]*\?>")
_ID = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,255}", re.ASCII)  # xs:ID without what is foreign to ASCII
_HASHES = ("SHA256", "SHA384", "SHA512")
_METHODS = frozenset(SignatureMethod[name] for hash_ in _HASHES for name in (f"RSA_{hash_}", f"ECDSA_{hash_}", f"{hash_}_RSA_MGF1"))
_DIGESTS = frozenset(DigestAlgorithm[name] for name in _HASHES)
_TAKEN, _TAKEN_DIGESTS = ([[each.value] for each in named] for named in (_METHODS, _DIGESTS))

logging.getLogger("signxml").setLevel(logging.CRITICAL)  # at DEBUG it prints what it canonicalizes


def refused(detail: str) -> IdentityRefused:
    """The refusal; `detail` names the rule."""
    return IdentityRefused(DenyReason.SUBJECT_TOKEN_INVALID, f"the assertion {detail}")


def parse_assertion(unverified_token: str, namespace: str) -> Any:
    """The root element, signed by nobody yet: rules 1 and 2.  Raises IdentityRefused."""
    root = _parsed(_decoded(unverified_token))
    kind = etree.QName(root)
    if kind.localname == "EncryptedAssertion" or any(True for _ in root.iter(f"{{{XENC}}}*")):
        raise refused("is encrypted, or a part of it: whoever holds the key decrypts it first")
    if kind.localname != "Assertion" or kind.namespace != namespace:
        raise refused("is not an Assertion of this version, by itself")
    if sum(1 for _ in root.iter("{*}Assertion")) != 1:
        raise refused("holds another one")
    if sum(1 + len(element.attrib) for element in root.iter()) > MAX_NODES:
        raise refused(f"has more than {MAX_NODES} elements and attributes")
    return root


def issuer_of(root: Any) -> str:
    """Who it says made it, signed by nobody yet: whose keys to try."""
    named = root.get("Issuer") if etree.QName(root).namespace == SAML1 else root.findtext(f"{{{SAML2}}}Issuer")
    return named or ""


def signed_by(root: Any, certificates: Iterable[str]) -> Any:
    """The same, as it was signed with the key of one of these certificates: rules 3 to 5.  Raises IdentityRefused."""
    id_ = root.get(ID_OF[etree.QName(root).namespace])
    if id_ is None or not _ID.fullmatch(id_):
        raise refused("has no ID")
    _check_signature(root, id_)
    for certificate in certificates:
        element = _verified(root, certificate)
        if element is not None and (element.tag, element.get(ID_OF[etree.QName(root).namespace])) == (root.tag, id_):
            return element
    raise refused("is not signed by a key of its issuer")


def _decoded(unverified_token: str) -> bytes:
    if len(unverified_token) > MAX_ASSERTION_CHARS:
        raise refused(f"is longer than {MAX_ASSERTION_CHARS} characters")
    if not _BASE64URL.fullmatch(unverified_token):
        raise refused("is not base64url")
    bare = unverified_token.rstrip("=")
    try:
        return urlsafe_b64decode(bare + "=" * (-len(bare) % 4))
    except binascii.Error:
        raise refused("is not base64url") from None


def _parsed(xml: bytes) -> Any:
    try:
        text = xml.decode()
    except UnicodeDecodeError:
        raise refused("is not UTF-8") from None
    if "<!" in text or "<?" in _DECLARATION.sub("", text, count=1):
        raise refused("holds a DTD, a comment, CDATA or a processing instruction")
    try:
        return etree.fromstring(xml, _parser())
    except (etree.XMLSyntaxError, ValueError):
        raise refused("is not XML") from None


def _parser() -> Any:
    return etree.XMLParser(
        encoding="utf-8",  # whatever the declaration says
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        attribute_defaults=False,
        no_network=True,
        huge_tree=False,
        recover=False,
        collect_ids=False,
    )


def _check_signature(root: Any, id_: str) -> None:
    """Rules 3 and 4, over what the signature says of itself: its own signature covers it."""
    found = list(root.iter(f"{{{DS}}}Signature"))
    if len(found) != 1 or found[0].getparent() is not root:
        raise refused("is not signed, or not as a whole and once")
    (signature,) = found
    if [child.tag for child in signature][:2] != [f"{{{DS}}}SignedInfo", f"{{{DS}}}SignatureValue"]:
        raise refused("has a signature of another form")
    if any(child.tag != f"{{{DS}}}KeyInfo" for child in signature[2:]):
        raise refused("has a signature that holds more than a signature")
    if _algorithms(signature, "SignedInfo/CanonicalizationMethod") != [EXCLUSIVE]:
        raise refused("is not canonicalized by exclusive c14n without comments")
    references = signature.findall(_path("SignedInfo/Reference"))
    if len(references) != 1 or references[0].get("URI") != f"#{id_}":
        raise refused("has a signature over something else than itself")
    if _algorithms(signature, "SignedInfo/Reference/Transforms/Transform") != [ENVELOPED, EXCLUSIVE]:
        raise refused("is signed through transforms that SAML does not allow")
    method, digest = (_algorithms(signature, f"SignedInfo/{path}") for path in ("SignatureMethod", "Reference/DigestMethod"))
    if method not in _TAKEN or digest not in _TAKEN_DIGESTS:
        raise refused("is signed with something else than RSA or ECDSA and SHA-256, 384 or 512")


def _algorithms(signature: Any, path: str) -> list[str | None]:
    return [element.get("Algorithm") for element in signature.findall(_path(path))]


def _path(path: str) -> str:
    return "/".join(f"{{{DS}}}{name}" for name in path.split("/"))


def _verified(root: Any, certificate: str) -> Any | None:
    """What this key signed, parsed from its canonical form; none if it signed nothing."""
    id_attribute = ID_OF[etree.QName(root).namespace]
    try:
        pinned = _certificate(certificate)
        result = XMLVerifier().verify(
            root, x509_cert=pinned, parser=_parser(), id_attribute=id_attribute, expect_config=_configuration(pinned)
        )
    except Exception:  # noqa: BLE001 - a library over hostile XML: whatever it stumbles over is not signed, and its text may quote it
        return None
    return None if isinstance(result, list) else result.signed_xml


def _configuration(pinned: x509.Certificate) -> SignatureConfiguration:
    """Its certificate's period is compared with a clock there: it is asked about a moment within it (`schemas.saml`)."""
    return SignatureConfiguration(
        location="./",
        signature_methods=_METHODS,
        digest_algorithms=_DIGESTS,
        ignore_ambiguous_key_info=True,  # KeyInfo is not read
        verification_time=pinned.not_valid_before_utc,
    )


@lru_cache(maxsize=64)
def _certificate(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(b64decode(text))
