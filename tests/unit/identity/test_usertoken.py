"""verify_user_token: RFC 9068 section 4, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weft.digest import sha256

from schemas.facts import UserIssuer
from schemas.reasons import DenyReason
from tests.support.identities import ADVISOR, NOW, Signer, user_claims
from workers.common.identity import IdentityRefused, verify_user_token

SIGNER = Signer()
ISSUER = UserIssuer(iss="https://login.88mph.com", jwks={"keys": [SIGNER.jwk]}, aud="https://fabric.88mph.com")


class Issuers:
    def __init__(self, *known: UserIssuer) -> None:
        self._known = {issuer.iss: issuer for issuer in known}

    def issuer(self, iss: str) -> UserIssuer | None:
        return self._known.get(iss)

    def issuers(self) -> tuple[UserIssuer, ...]:
        return tuple(self._known.values())


def token(signer: Signer = SIGNER, *, typ: str | None = "at+jwt", **changes: Any) -> str:
    return signer.sign(user_claims(**changes), typ=typ)


def verify(text: str, issuers: Issuers | None = None, agent_id: str = ADVISOR) -> Any:
    return verify_user_token(text, issuers or Issuers(ISSUER), agent_id=agent_id, now=NOW)


def refused(text: str, issuers: Issuers | None = None, agent_id: str = ADVISOR) -> str:
    with pytest.raises(IdentityRefused) as caught:
        verify(text, issuers, agent_id)
    assert caught.value.reason is DenyReason.USER_TOKEN_INVALID
    return caught.value.detail


def test_a_good_token() -> None:
    text = token()
    rights = verify(text)
    assert (rights.sub, rights.scope, rights.client_id, rights.may_act) == ("martymcfly@88mph.com", ("refund", "check"), ADVISOR, None)
    assert rights.digest == sha256(text)
    assert rights.exp == NOW + 300


@pytest.mark.parametrize("typ", ["at+jwt", "AT+JWT", "application/at+jwt"])
def test_typ(typ: str) -> None:
    assert verify(token(typ=typ))


@pytest.mark.parametrize("typ", [None, "JWT", "txntoken+jwt", "secevent+jwt", "xat+jwt"])
def test_a_token_of_another_type_is_refused(typ: str | None) -> None:
    """INVARIANT: an ID token, a Transaction Token or a SET of the same issuer is no access token.

    Not looking at `typ` would let whatever else that key signs act for a person.
    """
    assert refused(token(typ=typ)) == "typ is not at+jwt"


def test_may_act_names_the_agent() -> None:
    assert verify(token(client_id="frontend", may_act={"sub": ADVISOR})).may_act == ADVISOR


def test_an_issuer_may_stand_beside_the_agents_name() -> None:
    for iss in ("https://login.88mph.com", "https://fabric.88mph.com"):
        assert verify(token(client_id="frontend", may_act={"sub": ADVISOR, "iss": iss})).may_act == ADVISOR


def test_a_token_in_which_this_agent_acts_already() -> None:
    """RFC 8693 section 4.1: the outermost actor is the current one; those before are information."""
    assert verify(token(act={"sub": ADVISOR, "act": {"sub": "spiffe://88mph.com/agents/other"}}))


def test_a_token_bound_to_the_callers_key() -> None:
    text = token(cnf={"jkt": "k" * 43})
    assert verify_user_token(text, Issuers(ISSUER), agent_id=ADVISOR, now=NOW, jkt="k" * 43)
    for jkt in (None, "x" * 43):
        with pytest.raises(IdentityRefused):
            verify_user_token(text, Issuers(ISSUER), agent_id=ADVISOR, now=NOW, jkt=jkt)


@pytest.mark.parametrize(
    "changes",
    [
        {"client_id": "frontend"},
        {"client_id": "frontend", "may_act": {"sub": "spiffe://88mph.com/agents/other"}},
        {"may_act": {"sub": "spiffe://88mph.com/agents/other"}},
        {"client_id": "frontend", "may_act": ADVISOR},
        {"client_id": "frontend", "may_act": {}},
        {"client_id": None},
        {"client_id": [ADVISOR]},
        {"sub": None},
        {"sub": "two words"},
        {"sub": "x" * 600},
        {"jti": None},
        {"iat": None},
        {"iat": NOW + 6},
        {"nbf": NOW + 6},
        {"exp": None},
        {"exp": NOW},
        {"exp": "soon"},
        {"aud": None},
        {"aud": "https://elsewhere"},
        {"aud": {"https://fabric.88mph.com": 1}},
        {"iss": None},
        {"iss": "https://login.88mph.com/"},
        {"scope": ["refund"]},
        {"act": {"sub": "spiffe://88mph.com/agents/other"}},
        {"act": ADVISOR},
        {"act": {"sub": ADVISOR, "iss": "https://elsewhere"}},
        {"client_id": "frontend", "may_act": {"sub": ADVISOR, "iss": "https://elsewhere"}},
        {"cnf": {"jkt": "k" * 43}},
        {"cnf": {"x5t#S256": "k" * 43}},
        {"cnf": {}},
        {"cnf": None, "act": {}},
    ],
    ids=str,
)
def test_one_wrong_claim(changes: dict[str, Any]) -> None:
    assert refused(token(**changes))


def test_another_agents_token_is_refused() -> None:
    """INVARIANT: a person's token serves the agent it names and no other.

    Without the check any agent that sees the token could act for the person.
    """
    assert refused(token(), agent_id="spiffe://88mph.com/agents/other") == "neither client_id nor may_act names this agent"


def test_keys() -> None:
    assert refused(token(Signer())) == "the signature does not verify"
    assert refused(token(), Issuers()) == "no key of a known issuer"
    assert refused(token(Signer(kid="k9"))) == "no key of a known issuer"
    for jwks in (
        {},
        {"keys": [1]},
        {"keys": [{**SIGNER.jwk, "use": "enc"}]},
        {"keys": [{**SIGNER.jwk, "alg": "ES384"}]},
        {"keys": [{"kid": "k1"}]},
    ):
        assert refused(token(), Issuers(ISSUER.model_copy(update={"jwks": jwks}))) == "no key of a known issuer"


def test_scope_may_be_absent_and_aud_an_array() -> None:
    assert verify(token(scope=None, aud=["x", "https://fabric.88mph.com"])).scope == ()


@given(st.text(max_size=300))
def test_garbage_is_refused(text: str) -> None:
    refused(text)


@pytest.mark.parametrize(("namespace", "name"), [("", "marty"), ("partner", "partner::marty")])
def test_sub_is_a_person_of_its_own_provider(namespace: str, name: str) -> None:
    """INVARIANT: a person is named by the provider's fact and its `sub` together (draft-ietf-oauth-transaction-tokens-10: `sub` is unique).

    Broken by taking `sub` alone: another provider's marty would act with the rights of this one's.
    """
    other = UserIssuer(iss="https://other.example", jwks={"keys": [SIGNER.jwk]}, aud=ISSUER.aud, namespace="other")
    issuers = Issuers(ISSUER.model_copy(update={"namespace": namespace}), other)
    rights = verify(token(sub="marty"), issuers)
    assert (rights.sub, rights.iss) == (name, ISSUER.iss)
    assert verify(token(sub="marty", iss=other.iss), issuers).sub == "other::marty"


def test_a_sub_that_looks_like_another_providers_person() -> None:
    assert "another provider's namespace" in refused(token(sub="other::marty"))


def test_providers_that_cannot_be_told_apart() -> None:
    other = UserIssuer(iss="https://other.example", jwks={"keys": [SIGNER.jwk]}, aud=ISSUER.aud)
    assert "same_people_as" in refused(token(), Issuers(ISSUER, other))
    assert "same_people_as" in refused(token(iss=other.iss), Issuers(ISSUER, other))
    follows = other.model_copy(update={"same_people_as": ISSUER.iss})
    assert verify(token(iss=other.iss), Issuers(ISSUER, follows)).sub == verify(token(), Issuers(ISSUER, follows)).sub
