"""Access tokens of ours, as RFC 9068 section 4 has them verified."""

from __future__ import annotations

from typing import Any

import pytest
from weft.digest import target_digest

from schemas.facts import Kind
from streams.facts_table import FactsTable
from tests.support.facts import put, table_of
from tests.support.identities import NOW, Signer
from workers.common.accesstoken import AccessTokenRefused, VerifiedAccessToken, verify_access_token

ISSUER = "https://as.88mph.com"
SIGNER = Signer(kid="tokens-1")
OTHER = Signer(kid="tokens-1")
RETIRED = Signer(kid="tokens-0")
CLIENT = {
    "kind": "client", "client_id": "console", "owner": "ops", "auth_method": "private_key_jwt", "jwks": {"keys": [Signer().jwk]},
    "grant_types": ["client_credentials"], "scopes": ["ssf.*"],
}  # fmt: skip
AGENT = "spiffe://88mph.com/agents/advisor"


class Revocations:
    """As the view answers: what is hit, and what it has not heard of yet."""

    def __init__(self, *hit: str, counter: int = 7) -> None:
        self.hit, self.counter = set(hit), counter

    def behind(self, token: Any) -> bool:
        return token.rev > self.counter

    def revoked(self, token: Any) -> int | None:
        return 9 if self.hit & set(token.targets) else None


def facts(**client: Any) -> FactsTable:
    keys = [{"kind": "key", "purpose": "tokens", "kid": s.kid, "jwk": s.jwk, "trust_domain": "88mph.com"} for s in (SIGNER, RETIRED)]
    keys[1] |= {"state": "retired", "not_after": NOW - 10}
    return table_of([*keys, {**CLIENT, **client}])


def claims(**changes: Any) -> dict[str, Any]:
    good = {
        "iss": ISSUER, "aud": ISSUER, "sub": "console", "client_id": "console", "iat": NOW, "exp": NOW + 300, "jti": "j", "txn": "t",
        "scope": "ssf.read ssf.manage", "rev": 7, "facts": 3,
    }  # fmt: skip
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def sign(signer: Signer = SIGNER, typ: str | None = "at+jwt", **changes: Any) -> str:
    return signer.sign(claims(**changes), typ=typ)


def verify(token: str, table: FactsTable | None = None, hit: tuple[str, ...] = (), now: float = NOW, **proved: Any) -> VerifiedAccessToken:
    return verify_access_token(token, table or facts(), Revocations(*hit), issuer=ISSUER, audience=ISSUER, now=now, **proved)


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT"])
def test_4_accepts_both_names_of_its_type(typ: str) -> None:
    assert verify(sign(typ=typ)).scope == ("ssf.read", "ssf.manage")


@pytest.mark.parametrize("typ", ["JWT", "txntoken+jwt", "dpop+jwt", "application/at+jwt; x", None])
def test_4_refuses_every_other_type(typ: str | None) -> None:
    with pytest.raises(AccessTokenRefused, match="typ"):
        verify(sign(typ=typ))


REFUSED = {
    "another key of the same name": (sign(OTHER), "signature"),
    "an unknown key": (sign(Signer(kid="none")), "no key"),
    "another algorithm": (sign(Signer("RS256", kid="tokens-1")), "alg"),
    "another issuer": (sign(iss="https://other"), "issuer"),
    "no issuer": (sign(iss=None), "missing"),
    "another audience": (sign(aud="https://other"), "audience"),
    "no audience": (sign(aud=None), "missing"),
    "no jti": (sign(jti=None), "missing"),
    "no client": (sign(client_id=None), "missing"),
    "no sub": (sign(sub=None), "missing"),
    "no counter": (sign(rev=None), "missing"),
    "a claim that we never issue": (sign(admin=True), "not one that we issue"),
    "expired this second": (sign(iat=NOW - 300, exp=NOW), "expired"),
    "from the future": (sign(iat=NOW + 6, exp=NOW + 200), "not valid yet"),
    "a longer life than any": (sign(exp=NOW + 301), "expired"),
    "an unknown client": (sign(client_id="nobody", sub="nobody"), "no active client"),
    "beyond this view": (sign(rev=8), "view"),
    "a MAC": (SIGNER.raw(b'{"alg":"HS256","kid":"tokens-1","typ":"at+jwt"}', b"{}"), "alg"),
    "none": ("eyJhbGciOiJub25lIn0.e30.", "alg"),
    "nothing": ("", "three parts"),
    "too long": ("a" * 5000, "longer"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_4_refuses(what: str) -> None:
    token, why = REFUSED[what]
    with pytest.raises(AccessTokenRefused, match=why) as refused:
        verify(token)
    assert refused.value.error == "invalid_token"
    assert not token or token not in str(refused.value)


def test_one_of_several_audiences_is_enough() -> None:
    assert verify(sign(aud=["https://api.88mph.com", ISSUER])).claims.client_id == "console"


def test_a_retired_key_verifies_its_last_tokens_and_a_compromised_one_none() -> None:
    assert verify(sign(RETIRED))
    later = NOW + 1000
    with pytest.raises(AccessTokenRefused, match="no key"):
        verify(sign(RETIRED, iat=later, exp=later + 60), now=later)
    stolen = {"kind": "key", "purpose": "tokens", "kid": "tokens-1", "jwk": SIGNER.jwk, "trust_domain": "88mph.com", "state": "compromised"}
    with pytest.raises(AccessTokenRefused, match="no key"):
        verify(sign(), put(facts(), stolen))


@pytest.mark.parametrize("state", ["suspended", "retired"])
def test_a_client_that_is_no_longer_active_takes_its_tokens_with_it(state: str) -> None:
    with pytest.raises(AccessTokenRefused, match="no active client"):
        verify(sign(), facts(state=state))


def test_a_deleted_client_takes_its_tokens_with_it() -> None:
    with pytest.raises(AccessTokenRefused, match="no active client"):
        verify(sign(), put(facts(), CLIENT, deleted=True))


HITS = {
    "token": ("token", "j"), "transaction": ("transaction", "t"), "key": ("key", "tokens-1"), "user": ("user", "marty"),
    "agent": ("agent", AGENT), "namespace": ("namespace", "spiffe://88mph.com/agents"), "instance": ("instance", "i" + "a" * 26),
    "an actor before": ("agent", "spiffe://88mph.com/agents/before"), "the workload": ("agent", "spiffe://88mph.com/services/w"),
}  # fmt: skip


@pytest.mark.parametrize("what", HITS)
def test_revoked_by_everything_it_rests_on(what: str) -> None:
    """INVARIANT: an access token ends with its jti, its transaction, its key, its person, its workload, and everyone in its `act`.

    Leaving one of them out of `targets` would let a token live on that an entry names.
    """
    act = {"sub": AGENT, "instance": "i" + "a" * 26, "act": {"sub": "spiffe://88mph.com/agents/before"}}
    token = sign(sub="marty", act=act, workload="spiffe://88mph.com/services/w")
    assert verify(token)
    with pytest.raises(AccessTokenRefused, match="revoked"):
        verify(token, hit=(target_digest(*HITS[what]),))  # type: ignore[arg-type]


def test_the_scope_is_asked_for_by_name() -> None:
    token = verify(sign(scope="ssf.read"))
    token.require("ssf.read")
    with pytest.raises(AccessTokenRefused) as refused:
        token.require("ssf.read", "ssf.manage")
    assert refused.value.error == "insufficient_scope"


@pytest.mark.parametrize(
    ("cnf", "proved", "good"),
    [
        ({"jkt": "a" * 43}, {"jkt": "a" * 43}, True),
        ({"jkt": "a" * 43}, {}, False),
        ({"jkt": "a" * 43}, {"jkt": "b" * 43}, False),
        ({"jkt": "a" * 43}, {"x5t": "a" * 43}, False),
        ({"x5t#S256": "a" * 43}, {"x5t": "a" * 43}, True),
        ({"x5t#S256": "a" * 43}, {}, False),
        ({"x5t#S256": "a" * 43}, {"jkt": "a" * 43}, False),
        (None, {"jkt": "a" * 43}, True),
    ],
)
def test_a_bound_token_is_no_bearer_token(cnf: dict[str, str] | None, proved: dict[str, str], good: bool) -> None:
    """INVARIANT: a token bound to a key is worth nothing without a proof of that key (RFC 9449 section 7.1, RFC 8705 section 3).

    Comparing only where a proof came along would make every bound token a bearer token.
    """
    token = sign(cnf=cnf)
    if good:
        assert verify(token, **proved)
    else:
        with pytest.raises(AccessTokenRefused, match="bound"):
            verify(token, **proved)


def test_an_agent_may_be_the_client() -> None:
    agent = {
        "kind": "agent", "id": AGENT, "owner": "o", "realm": "first_party", "version": "1", "deployment": "d", "agent_type": "t",
        "selectors": {}, "charter": {"purposes": [], "tools": [], "actions": []},
    }  # fmt: skip
    assert verify(sign(client_id=AGENT, sub="marty"), put(facts(), agent))
    with pytest.raises(AccessTokenRefused, match="no active client"):
        verify(sign(client_id=AGENT, sub="marty"), put(facts(), {**agent, "state": "suspended"}))


def test_clients_are_facts_by_the_digest_of_their_id() -> None:
    table = facts()
    assert table.client("console") is not None
    assert table.client("other") is None
    assert len(table.clients()) == 1
    assert table.version(Kind.CLIENT) == table.revision
