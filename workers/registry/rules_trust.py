"""Rules for keys, issuers, transmitters and policies: what the fabric believes and decides by.  Pure.

A key is public, of a kind we verify with, and says so in every member: a private key that someone pastes here must not reach a
stream that is kept for ever.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from typing import Any

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from weft.digest import sha256

from schemas.commands import Change
from schemas.detections import FirstUse, InOrder, Refusals
from schemas.facts import Detection, Key, Kind, Policy, ResponsePolicy, Subscription, Transmitter, UserIssuer
from schemas.subject_ids import parse_subject
from workers.common.decision.cedar import PolicyError, parse
from workers.common.decision.vocabulary import faults
from workers.common.responserules import faults as faults_of_policy
from workers.registry import rules_people
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problems, check_patterns, invalid

MIN_RSA_BITS = 2048  # RFC 7518 section 3.3
PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})  # RFC 7518 sections 6.2.2, 6.3.2 and 6.4.1
_CURVES = frozenset(("secp256r1", "secp384r1", "secp521r1"))
_KTY = {"EC": EllipticCurvePublicKey, "OKP": Ed25519PublicKey, "RSA": RSAPublicKey}


def key(change: Change, body: Key, _: Prospect, fabric: Fabric) -> Problems:
    """One purpose, one kind of key (design section 2)."""
    fault = key_fault(body.jwk)
    if fault:
        yield invalid(change, f"jwk {fault}")
        return
    kinds: dict[str, tuple[str, str | None] | None] = {"revocation": ("OKP", "Ed25519"), "signals-rs256": ("RSA", None), "svid": None}
    wanted = kinds.get(body.purpose, ("EC", "P-256"))
    if wanted is not None and (body.jwk.get("kty"), body.jwk.get("crv")) != wanted:
        yield invalid(change, f"a key for {body.purpose} is {' '.join(filter(None, wanted))}")
    if body.jwk.get("kid", body.kid) != body.kid:
        yield invalid(change, "kid is not the kid of the jwk")
    if body.not_after is not None and body.not_after < body.not_before:
        yield invalid(change, "not_after lies before not_before")
    if body.purpose == "tokens" and body.state == "retired" and body.not_after is None:
        yield invalid(change, "a retired key says when it stopped signing: not_after")
    if body.assurance == "development" and fabric.mode == "production":
        yield invalid(change, "a fabric in production takes no key of assurance development")


def key_deleted(change: Change, prospect: Prospect) -> Problems:
    """Records name the key that signed a token: who verifies them later needs to know that it was ours."""
    body = prospect.before(change.kind, change.key)
    if isinstance(body, Key) and body.purpose == "tokens":
        yield invalid(change, "a key of tokens is never deleted: retire it (not_after), or say that it is compromised")


def tokens_signed(prospect: Prospect, changes: Iterable[Change]) -> Problems:
    """Some key signs tokens without an end, unless none did before."""
    touched = [change for change in changes if isinstance(change.body, Key) and change.body.purpose == "tokens"]
    if not touched:
        return
    before = {key.kid: key for key in prospect.table.keys("tokens")}
    after = {**before, **{change.body.kid: change.body for change in touched if isinstance(change.body, Key)}}
    if _signs_for_ever(before.values()) and not _signs_for_ever(after.values()):
        yield invalid(touched[-1], "no key would be left that signs tokens: weft keys rotate")


def _signs_for_ever(keys: Iterable[Key]) -> bool:
    return any(key.state == "active" and key.not_after is None for key in keys)


def key_fault(jwk: Mapping[str, Any]) -> str | None:
    """Why a JWK is refused; none for a public key that we can verify with.  Never repeats a part of it."""
    if PRIVATE_MEMBERS & jwk.keys():
        return "holds private members: this key is burnt, make another"
    kty = jwk.get("kty")
    if not isinstance(kty, str) or kty not in _KTY:
        return "is neither EC, OKP nor RSA"
    try:
        public = jwt.PyJWK(dict(jwk), algorithm="EdDSA" if kty == "OKP" else jwk.get("alg")).key
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError, AttributeError):
        return "is not a key of its kty"
    if not isinstance(public, _KTY[kty]):
        return "is not a public key that we verify with"
    if isinstance(public, RSAPublicKey) and public.key_size < MIN_RSA_BITS:
        return f"is shorter than {MIN_RSA_BITS} bits"
    return None


def key_set(change: Change, jwks: Mapping[str, Any]) -> Problems:
    """A key set whose every key can verify and has a name (RFC 7517 section 5)."""
    keys = jwks.get("keys")
    if not isinstance(keys, list | tuple) or not keys or not all(isinstance(one, Mapping) for one in keys):
        yield invalid(change, "jwks is not a key set with at least one key (RFC 7517 section 5)")
        return
    for position, one in enumerate(keys):
        fault = key_fault(one)
        if fault:
            yield invalid(change, f"jwks.keys[{position}] {fault}")
    kids = [str(one.get("kid") or "") for one in keys]
    if "" in kids or len(set(kids)) != len(kids):
        yield invalid(change, "jwks: every key needs a kid of its own")


def issuer(change: Change, body: UserIssuer, prospect: Prospect, fabric: Fabric) -> Problems:
    """Keys that can verify: of OpenID, of SAML, or both, else it would be nobody's word; and none in the name of the fabric."""
    if body.iss == fabric.issuer:
        yield invalid(change, "iss is this fabric's own: what it issued is verified with its own keys")
    if not body.jwks and not body.saml_certificates:
        yield invalid(change, "it has neither jwks nor saml_certificates: nothing that it says could be verified")
    if body.jwks:
        yield from key_set(change, body.jwks)
    for position, text in enumerate(body.saml_certificates):
        if fault := certificate_fault(text):
            yield invalid(change, f"saml_certificates[{position}] {fault}")
    if len(set(body.saml_certificates)) != len(body.saml_certificates):
        yield invalid(change, "saml_certificates names one twice")
    yield from rules_people.issuer(change, body, prospect)


def certificate_fault(text: str) -> str | None:
    """Why the certificate of a SAML provider is refused; none for one whose key we verify with.  Never repeats a part of it."""
    try:
        certificate = x509.load_der_x509_certificate(base64.b64decode(text, validate=True))
        public, hash_ = certificate.public_key(), certificate.signature_hash_algorithm
    except (ValueError, UnsupportedAlgorithm):
        return "is not a certificate (base64 of DER, as <ds:X509Certificate> of the provider's metadata)"
    if hash_ is None or hash_.digest_size < 32:
        return "is signed with less than SHA-256: ask the provider for a newer one"
    if isinstance(public, RSAPublicKey):
        return None if public.key_size >= MIN_RSA_BITS else f"has a key shorter than {MIN_RSA_BITS} bits"
    if isinstance(public, EllipticCurvePublicKey) and public.curve.name in _CURVES:
        return None
    return "has a key that no signature algorithm taken here uses: RSA, or EC on P-256, P-384 or P-521"


def transmitter(change: Change, body: Transmitter, prospect: Prospect, _: Fabric) -> Problems:
    """Keys that can verify, and a ceiling that is one."""
    yield from key_set(change, body.jwks)
    yield from rules_people.transmitter(change, body, prospect)
    if not body.trust:
        yield invalid(change, "trust is empty: its word would be worth nothing")
    if not body.ceiling.namespaces:
        yield invalid(change, "ceiling.namespaces is empty: it could speak about nobody")


def policy(change: Change, body: Policy, _: Prospect, __: Fabric) -> Problems:
    """Cedar that parses, says something, and speaks of what requests have.  An error in one policy denies everybody, so none is let in."""
    try:
        if not parse(body.cedar):
            yield invalid(change, "it holds no policy: delete the fact instead")
        for fault in faults(body.cedar):
            yield invalid(change, fault)
    except PolicyError:
        yield invalid(change, "it does not parse as Cedar, or holds a template")


def response(change: Change, body: ResponsePolicy, _: Prospect, fabric: Fabric) -> Problems:
    """Rules that can be told apart, each with what its answer needs, and none that never applies."""
    yield from (invalid(change, text) for text in faults_of_policy(body, fabric.trust_domain))


def detection(change: Change, body: Detection, _: Prospect, fabric: Fabric) -> Problems:
    """Steps that could be taken, agents of this fabric, and no way of counting that could count nothing."""
    for position, step in enumerate(body.when.steps if isinstance(body.when, InOrder) else ()):
        if not step.tools or not step.actions:
            yield invalid(change, f"when.steps[{position}] names no tool or no action")
        yield from check_patterns(change, f"when.steps[{position}]", (*step.tools, *step.actions))
    if body.by == "transaction" and isinstance(body.when, Refusals | FirstUse):
        yield invalid(change, f"{body.when.of} is counted by instance or agent: a refusal need not belong to a transaction")
    root = f"spiffe://{fabric.trust_domain}"
    for namespace in body.namespaces:
        if namespace != root and not namespace.startswith(root + "/"):
            yield invalid(change, "namespaces: agents of another trust domain make no calls here")


def subscription(change: Change, body: Subscription, prospect: Prospect, _: Fabric) -> Problems:
    """A stream at a transmitter that we know: what it sends counts for nothing else."""
    if prospect.after(Kind.TRANSMITTER, sha256(body.iss)) is None:
        yield invalid(change, "iss is no transmitter among the facts: its SETs would be refused")
    for position, subject in enumerate(body.subjects):
        try:
            parse_subject(subject)
        except ValueError:
            yield invalid(change, f"subjects[{position}] is no subject identifier (RFC 9493)")
