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
from schemas.decision import Parent, UserRights
from schemas.exchange import Acting, Subject
from schemas.facts import UserIssuer
from schemas.reasons import DenyReason
from streams.facts_table import FactsTable
from workers.broker.oauth.clients import Authenticated, Once
from workers.broker.oauth.owntokens import own_access_token, own_signed
from workers.broker.oauth.refusals import OAuthRefused
from workers.common import people
from workers.common.credentials import IdentityRefused, audiences, check_times, parsed, signed_claims
from workers.common.decision.draft import is_workload
from workers.common.jose import ParsedJWS
from workers.common.usertoken import MAX_USER_TOKEN_BYTES, acting_in, jwks_key, named_in, party_of, scope_of, text_of, whom
from workers.common.verification import RevocationsKnown

MAX_JSON_BYTES = 4096
_INVALID = DenyReason.SUBJECT_TOKEN_INVALID


@dataclass(frozen=True, slots=True)
class Reading:
    """What a subject token is read with."""

    facts: FactsTable
    revocations: RevocationsKnown
    issuer: str
    now: float
    actor: Acting | None = None  # that the client brought


@dataclass(frozen=True, slots=True)
class Vouched:
    """A verified subject; as the decision about a tool reads the person, where it is one, or what is continued, where it is ours."""

    subject: Subject
    user: UserRights | None = None
    once: Once | None = None  # what has to be claimed before anything is issued for it
    parent: Parent | None = None
    tctx: dict[str, Any] | None = None  # of the transaction that is continued


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
    client_id, named = text_of(claims, "client_id"), named_in(claims)
    may_act = None if named is None else named.sub
    if not set(audiences(claims.get("aud"))) & set(client.client.protects):
        _check_addressed(claims, issuer, {client_id, may_act}, client, reading.actor)
    scope = scope_of(claims.get("scope", ""))
    return _person(token, "access_token", issuer, claims, reading, scope=scope, client_id=client_id, may_act=may_act)


def _check_addressed(
    claims: Mapping[str, Any], issuer: UserIssuer, named: set[str | None], client: Authenticated, actor: Acting | None
) -> None:
    """As on the bus (workers.common.usertoken): for this fabric and this client or the actor that it brought, nobody else acting in it, its
    key shown where it has one.  Whether the actor is the one that `may_act` names is the decision's.

    A token for a resource that the client serves was shown to it by somebody else, whose key it checked itself (RFC 9449 section 7.1).
    """
    if issuer.aud not in audiences(claims.get("aud")) or not named & (_known_to_others(client) | _actor_names(actor)):
        raise IdentityRefused(_INVALID, "neither for this client nor for a resource that it serves")
    _check_holder(claims, issuer, client, actor)


def _check_holder(claims: Mapping[str, Any], issuer: UserIssuer, client: Authenticated, actor: Acting | None) -> None:
    """Nobody else acts in it, and its key was shown where it has one (RFC 8693 section 4.1, RFC 7800 section 3.1)."""
    if party_of(claims, "act", issuer) not in (None, *_known_to_others(client), *_actor_names(actor)):
        raise IdentityRefused(_INVALID, "somebody else acts in it")
    if "cnf" in claims and claims["cnf"] not in ({"jkt": client.jkt}, {"x5t#S256": client.x5t}):
        raise IdentityRefused(_INVALID, "bound to a key that the client has not shown")


def _known_to_others(client: Authenticated) -> set[str]:
    """Names that mean this client to a provider too.  An opaque client_id does not: there, it may be somebody else's."""
    return {name for name in (client.workload, client.client.client_id) if name is not None and "://" in name}


def _actor_names(actor: Acting | None) -> set[str]:
    shown = () if actor is None else (actor.workload, actor.client_id)
    return {name for name in shown if name is not None and "://" in name}


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
    _check_holder(claims, issuer, client, reading.actor)
    return _person(token, "id_token", issuer, claims, reading, scope=None, client_id=client.client.client_id)


def _jwt(token: str, client: Authenticated, reading: Reading) -> Vouched:
    jws = parsed(token, MAX_USER_TOKEN_BYTES, _INVALID)
    if jws.media_type not in ("", "jwt"):
        raise IdentityRefused(_INVALID, "typ is another token's")
    issuer, claims = _by_provider(jws, reading)
    if not {issuer.aud, reading.issuer} & set(audiences(claims.get("aud"))):
        raise IdentityRefused(_INVALID, "aud is not this fabric")
    _check_holder(claims, issuer, client, reading.actor)
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
    acting, named = acting_in(claims), named_in(claims)
    subject = Subject(type=type_, sub=person, iss=issuer.iss, scope=scope, exp=exp, act=acting, may_act=named, digest=digest)
    rights = UserRights(sub=person, iss=issuer.iss, scope=scope or (), client_id=client_id, may_act=may_act, exp=exp, digest=digest)
    return Vouched(subject, rights)


# --- ours, and the client's own word ----------------------------------------------------------------------------------------------


def _own_access_token(token: str, client: Authenticated, reading: Reading) -> Vouched:
    subject, parent, tctx = own_access_token(token, client, reading.facts, reading.revocations, issuer=reading.issuer, now=reading.now)
    return Vouched(subject, parent=parent, tctx=tctx)


def _self_signed(token: str, client: Authenticated, reading: Reading) -> Vouched:
    claims = own_signed(token, client, issuer=reading.issuer, now=reading.now, reason=_INVALID)
    return _own_word(claims, "self_signed", token, client, reading, exp=claims["exp"])


def _unsigned_json(text: str, client: Authenticated, reading: Reading) -> Vouched:
    """Good for nothing but who authenticated the request: no `exp`, no signature."""
    if len(text) > MAX_JSON_BYTES:
        raise IdentityRefused(_INVALID, f"longer than {MAX_JSON_BYTES} bytes")
    try:
        claims = parse_object(text.encode(), "the subject token")
    except (Malformed, UnicodeEncodeError):
        raise IdentityRefused(_INVALID, "not a JSON object without duplicate names") from None
    return _own_word(claims, "unsigned_json", text, client, reading, exp=None)


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


def _own_word(
    claims: Mapping[str, Any], type_: SubjectType, token: str, client: Authenticated, reading: Reading, *, exp: int | None
) -> Vouched:
    """Whom the client acts for is its own word, and whom it wants to act; not who acted before."""
    if claims.get("act") is not None:
        raise IdentityRefused(_INVALID, "who acted before is nothing that a client can say by itself")
    sub, named = _said(claims, client, reading), named_in(claims)
    return Vouched(Subject(type=type_, sub=sub, iss=client.client.client_id, exp=exp, may_act=named, asserted=True, digest=sha256(token)))


_READERS: dict[SubjectType, Callable[[str, Authenticated, Reading], Vouched]] = {
    "access_token": _access_token,
    "id_token": _id_token,
    "jwt": _jwt,
    "self_signed": _self_signed,
    "unsigned_json": _unsigned_json,
    "saml1": lambda token, client, reading: _saml(token, "saml1", client, reading),
    "saml2": lambda token, client, reading: _saml(token, "saml2", client, reading),
}
