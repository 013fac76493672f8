"""Subject tokens: draft-ietf-oauth-transaction-tokens-10 section 1.3 of our sheet, RFC 8693 section 2.1.

| type | who vouches | what it must be for |
|---|---|---|
| `access_token` | a provider of people, or Weft itself | this client (`client_id`, `may_act`), or a resource that the client serves |
| `id_token` | a provider of people | this client, or this fabric |
| `jwt` | a provider of people | this fabric |
| `saml1`, `saml2` | a provider of people | this fabric, this client, or a resource that the client serves; good once |
| `self_signed` | the client, with the key it authenticates with | this issuer alone |
| `unsigned_json` | the client's authentication alone | |

A provider names this client by its SPIFFE ID or its URL: an opaque client_id may be somebody else's there (a confused deputy's way in).

Who is meant by a `sub`, the provider's fact says (workers.common.people); by the client's own word, the provider that its fact names.
Whatever names a workload names the client's own: nobody vouches for another's.  A Transaction Token is `replacements`' business.  All
refusals are OAuthRefused (invalid_request, RFC 8693 section 2.2.2), and repeat nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from weft.digest import sha256
from weft.errors import Malformed
from weft.strictjson import parse_object

from schemas.clients import SubjectType
from schemas.decision import UserRights
from schemas.exchange import Subject
from schemas.facts import UserIssuer
from schemas.reasons import DenyReason
from schemas.token import Requested
from streams.facts_table import FactsTable
from workers.broker.oauth.clients import Authenticated, Once
from workers.broker.oauth.refusals import OAuthRefused
from workers.common import people
from workers.common.accesstoken import AccessTokenRefused, VerifiedAccessToken, verify_access_token
from workers.common.credentials import SKEW_S, IdentityRefused, audiences, check_times, parsed, signed_claims
from workers.common.decision.draft import is_workload
from workers.common.jose import ParsedJWS
from workers.common.usertoken import MAX_USER_TOKEN_BYTES, jwks_key, party_of, scope_of, text_of, whom
from workers.common.verification import RevocationsKnown

MAX_JSON_BYTES = 4096
MAX_SELF_SIGNED_AGE_S = 300
_INVALID = DenyReason.SUBJECT_TOKEN_INVALID


@dataclass(frozen=True, slots=True)
class Reading:
    """What a subject token is read with."""

    facts: FactsTable
    revocations: RevocationsKnown
    issuer: str
    now: float


@dataclass(frozen=True, slots=True)
class Vouched:
    """A verified subject, and as the decision about a tool reads the person, where it is one."""

    subject: Subject
    user: UserRights | None = None
    once: Once | None = None  # what has to be claimed before anything is issued for it


def read_subject(unverified_token: str, type_: SubjectType, client: Authenticated, reading: Reading) -> Vouched:
    """Raises OAuthRefused.  `txn_token` is not read here."""
    read = _READERS.get(type_)
    if read is None:
        raise OAuthRefused("invalid_request", "not a type of subject token that is read here", _INVALID)
    try:
        vouched = read(unverified_token, client, reading)
    except IdentityRefused as refused:
        raise OAuthRefused("invalid_request", f"subject_token: {refused.detail}", _INVALID) from None
    _check_subject(vouched.subject, client, reading.facts)
    return vouched


def _check_subject(subject: Subject, client: Authenticated, facts: FactsTable) -> None:
    """A person, the client itself, or the workload that it is.  What Weft issued itself names whom it was issued to."""
    if subject.chain:
        return
    if is_workload(subject.sub) and subject.sub != client.workload:
        raise OAuthRefused("invalid_request", "subject_token: names a workload that the client is not", _INVALID)
    if subject.sub != client.client.client_id and facts.client(subject.sub) is not None:
        raise OAuthRefused("invalid_request", "subject_token: names another client", _INVALID)


# --- tokens of providers --------------------------------------------------------------------------------------------------------


def _access_token(token: str, client: Authenticated, reading: Reading) -> Vouched:
    jws = parsed(token, MAX_USER_TOKEN_BYTES, _INVALID)
    if jws.unverified_payload.get("iss") == reading.issuer:
        return _own_access_token(token, client, reading)
    if jws.media_type != "at+jwt":
        raise IdentityRefused(_INVALID, "typ is not at+jwt")
    issuer, claims = _by_provider(jws, reading)
    text_of(claims, "jti")
    client_id, may_act = text_of(claims, "client_id"), party_of(claims, "may_act", issuer)
    if not set(audiences(claims.get("aud"))) & set(client.client.protects):
        _check_addressed(claims, issuer, {client_id, may_act}, client)
    scope = scope_of(claims.get("scope", ""))
    return _person(token, "access_token", issuer, claims, reading, scope=scope, client_id=client_id, may_act=may_act)


def _check_addressed(claims: Mapping[str, Any], issuer: UserIssuer, named: set[str | None], client: Authenticated) -> None:
    """As on the bus (workers.common.usertoken): for this fabric and this client, nobody else acting in it, its key shown where it has one.

    A token for a resource that the client serves was shown to it by somebody else, whose key it checked itself (RFC 9449 section 7.1).
    """
    own = _known_to_others(client)
    if issuer.aud not in audiences(claims.get("aud")) or not named & own:
        raise IdentityRefused(_INVALID, "neither for this client nor for a resource that it serves")
    _check_holder(claims, issuer, client)


def _check_holder(claims: Mapping[str, Any], issuer: UserIssuer, client: Authenticated) -> None:
    """Nobody else acts in it, and its key was shown where it has one (RFC 8693 section 4.1, RFC 7800 section 3.1)."""
    if party_of(claims, "act", issuer) not in (None, *_known_to_others(client)):
        raise IdentityRefused(_INVALID, "somebody else acts in it")
    if "cnf" in claims and claims["cnf"] not in ({"jkt": client.jkt}, {"x5t#S256": client.x5t}):
        raise IdentityRefused(_INVALID, "bound to a key that the client has not shown")


def _known_to_others(client: Authenticated) -> set[str]:
    """Names that mean this client to a provider too.  An opaque client_id does not: there, it may be somebody else's."""
    return {name for name in (client.workload, client.client.client_id) if name is not None and "://" in name}


def _id_token(token: str, client: Authenticated, reading: Reading) -> Vouched:
    jws = parsed(token, MAX_USER_TOKEN_BYTES, _INVALID)
    if jws.media_type not in ("", "jwt"):
        raise IdentityRefused(_INVALID, "typ is another token's")
    issuer, claims = _by_provider(jws, reading)
    named, own = audiences(claims.get("aud")), _known_to_others(client)
    if not (own | {issuer.aud}) & set(named):
        raise IdentityRefused(_INVALID, "neither for this client nor for this fabric")
    azp = claims.get("azp")  # OpenID Connect Core section 3.1.3.7
    if (len(named) > 1 and azp not in own) or azp not in (None, issuer.aud, *own):
        raise IdentityRefused(_INVALID, "issued to another client (azp)")
    _check_holder(claims, issuer, client)
    return _person(token, "id_token", issuer, claims, reading, scope=None, client_id=client.client.client_id)


def _jwt(token: str, client: Authenticated, reading: Reading) -> Vouched:
    jws = parsed(token, MAX_USER_TOKEN_BYTES, _INVALID)
    if jws.media_type not in ("", "jwt"):
        raise IdentityRefused(_INVALID, "typ is another token's")
    issuer, claims = _by_provider(jws, reading)
    if not {issuer.aud, reading.issuer} & set(audiences(claims.get("aud"))):
        raise IdentityRefused(_INVALID, "aud is not this fabric")
    _check_holder(claims, issuer, client)
    scope = scope_of(claims["scope"]) if "scope" in claims else None
    return _person(token, "jwt", issuer, claims, reading, scope=scope, client_id=client.client.client_id)


def _saml(token: str, type_: Literal["saml1", "saml2"], client: Authenticated, reading: Reading) -> Vouched:
    """An assertion is shown by browsers to whoever they log in at, so it counts once (SAML 2.0 profiles section 4.1.4.5)."""
    from workers.broker.oauth.saml.assertion import Presenter, verify_assertion

    names = _known_to_others(client) | {reading.issuer, *client.client.protects}
    held = verify_assertion(token, type_, reading.facts, Presenter(frozenset(names), client.x5t), reading.now)
    claims = {"sub": held.name, "exp": held.exp}
    vouched = _person(token, type_, held.issuer, claims, reading, scope=None, client_id=client.client.client_id)
    return replace(vouched, once=held.once)


def _by_provider(jws: ParsedJWS, reading: Reading) -> tuple[UserIssuer, dict[str, Any]]:
    """Signed by a provider among the facts; within its time.  `iat` is asked for: the record wants to know when it began.

    A logout token may look like an ID token in all but its `events` (RFC 8417 section 4.5, OpenID Connect Back-Channel Logout 1.0
    section 2.4: its `typ` is only recommended).
    """
    issuer = reading.facts.issuer(text_of(jws.unverified_payload, "iss"))
    key = None if issuer is None else jwks_key(issuer.jwks, jws)
    if issuer is None or key is None:
        raise IdentityRefused(_INVALID, "no key of a known issuer")
    claims = signed_claims(jws, key, _INVALID)
    check_times(claims, reading.now, invalid=_INVALID, expired=_INVALID)
    if "iat" not in claims:
        raise IdentityRefused(_INVALID, "iat is missing")
    if "events" in claims:
        raise IdentityRefused(_INVALID, "a security event, a logout say: it vouches for nobody")
    return issuer, claims


def _person(
    token: str,
    type_: SubjectType,
    issuer: UserIssuer,
    claims: Mapping[str, Any],
    reading: Reading,
    *,
    scope: tuple[str, ...] | None,
    client_id: str,
    may_act: str | None = None,
) -> Vouched:
    person, exp, digest = whom(claims, issuer, reading.facts.issuers()), claims["exp"], sha256(token)
    subject = Subject(type=type_, sub=person, iss=issuer.iss, scope=scope, exp=exp, digest=digest)
    rights = UserRights(sub=person, iss=issuer.iss, scope=scope or (), client_id=client_id, may_act=may_act, exp=exp, digest=digest)
    return Vouched(subject, rights)


# --- ours, and the client's own word ----------------------------------------------------------------------------------------------


def _own_access_token(token: str, client: Authenticated, reading: Reading) -> Vouched:
    """Issued here; the client's own, or for a resource that it serves.  Its holder is the first link of the call chain.

    One for a single call of a tool is a leaf: nothing follows from it.
    """
    found = _live_access_token(token, client, reading)
    claims = found.claims
    if claims.call is not None:
        raise IdentityRefused(_INVALID, "a token for one call is a leaf")
    if not found.audiences & set(client.client.protects) and claims.client_id != client.client.client_id:
        raise IdentityRefused(_INVALID, "neither this client's own nor for a resource that it serves")
    link = Requested(wl=claims.workload or claims.client_id, jti=claims.jti, iat=claims.iat)
    return Vouched(
        Subject(
            type="access_token",
            sub=claims.sub,
            iss=claims.iss,
            scope=found.scope,
            exp=claims.exp,
            chain=(link,),
            digest=found.digest,
        )
    )


def _live_access_token(token: str, client: Authenticated, reading: Reading) -> VerifiedAccessToken:
    detail = ""
    for audience in (reading.issuer, *client.client.protects):
        try:
            return verify_access_token(
                token,
                reading.facts,
                reading.revocations,
                issuer=reading.issuer,
                audience=audience,
                now=reading.now,
                jkt=client.jkt,
                x5t=client.x5t,
            )
        except AccessTokenRefused as refused:
            detail = refused.detail
    raise IdentityRefused(_INVALID, detail)


def _self_signed(token: str, client: Authenticated, reading: Reading) -> Vouched:
    """Signed by the client's own key; `aud` is this service and nobody else (the draft: SHALL verify), made within five minutes."""
    if client.client.jwks is None:
        raise IdentityRefused(_INVALID, "the client has no key of its own")
    jws = parsed(token, MAX_USER_TOKEN_BYTES, _INVALID)
    if jws.media_type not in ("", "jwt"):
        raise IdentityRefused(_INVALID, "typ is another token's")
    key = jwks_key(client.client.jwks, jws)
    if key is None or jws.unverified_payload.get("iss") not in (client.client.client_id, client.workload):
        raise IdentityRefused(_INVALID, "not signed by this client")
    claims = signed_claims(jws, key, _INVALID)
    if audiences(claims.get("aud")) != [reading.issuer]:
        raise IdentityRefused(_INVALID, "aud is not this service alone")
    check_times(claims, reading.now, invalid=_INVALID, expired=_INVALID)
    if reading.now - claims.get("iat", 0) > MAX_SELF_SIGNED_AGE_S + SKEW_S:
        raise IdentityRefused(_INVALID, "made too long ago")
    return _own_word(_said(claims, client, reading), "self_signed", token, client, claims["exp"])


def _unsigned_json(text: str, client: Authenticated, reading: Reading) -> Vouched:
    """Good for nothing but who authenticated the request: no `exp`, no signature."""
    if len(text) > MAX_JSON_BYTES:
        raise IdentityRefused(_INVALID, f"longer than {MAX_JSON_BYTES} bytes")
    try:
        claims = parse_object(text.encode(), "the subject token")
    except (Malformed, UnicodeEncodeError):
        raise IdentityRefused(_INVALID, "not a JSON object without duplicate names") from None
    return _own_word(_said(claims, client, reading), "unsigned_json", text, client, None)


def _said(claims: Mapping[str, Any], client: Authenticated, reading: Reading) -> str:
    """The client itself, or a person of the provider whose people its fact lets it name; without one, of none that has a namespace."""
    sub, of = text_of(claims, "sub"), client.client.people
    if sub in (client.client.client_id, client.workload):
        return sub
    issuer = None if of is None else reading.facts.issuer(of)
    if of is not None and issuer is None:
        raise IdentityRefused(_INVALID, "the provider whose people the client names is not among the facts")
    try:
        return people.named("", sub) if issuer is None else people.person_of(issuer, sub, reading.facts.issuers())
    except people.NoPerson as nobody:
        raise IdentityRefused(_INVALID, str(nobody)) from None


def _own_word(sub: str, type_: SubjectType, token: str, client: Authenticated, exp: int | None) -> Vouched:
    subject = Subject(type=type_, sub=sub, iss=client.client.client_id, exp=exp, digest=sha256(token))
    return Vouched(subject)


_READERS: dict[SubjectType, Callable[[str, Authenticated, Reading], Vouched]] = {
    "access_token": _access_token,
    "id_token": _id_token,
    "jwt": _jwt,
    "self_signed": _self_signed,
    "unsigned_json": _unsigned_json,
    "saml1": lambda token, client, reading: _saml(token, "saml1", client, reading),
    "saml2": lambda token, client, reading: _saml(token, "saml2", client, reading),
}
