"""The demonstration's identity provider, checked by the fabric's own verifier."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from schemas.facts import UserIssuer
from workers.common.identity import IdentityRefused, verify_user_token
from workers.issuer.oidc import OIDCProvider

AGENT = "spiffe://88mph.com/agents/advisor"


class Issuers:
    def __init__(self, known: UserIssuer) -> None:
        self.known = known

    def issuer(self, iss: str) -> UserIssuer | None:
        return self.known if iss == self.known.iss else None


def test_its_tokens_are_good_for_the_agent_they_name(tmp_path: Path) -> None:
    provider = OIDCProvider.load_or_create(tmp_path / "keys" / "oidc.pem", "https://login.88mph.com", "fabric")
    again = OIDCProvider.load_or_create(tmp_path / "keys" / "oidc.pem", "https://login.88mph.com", "fabric")
    issuers = Issuers(provider.fact())
    mine = again.issue("marty@88mph.com", AGENT, "refund check")
    assert verify_user_token(mine, issuers, agent_id=AGENT, now=time.time()).scope == ("refund", "check")
    lent = again.issue("marty@88mph.com", "frontend", "refund", may_act=AGENT)
    assert verify_user_token(lent, issuers, agent_id=AGENT, now=time.time()).may_act == AGENT
    for token in (again.issue("marty@88mph.com", "frontend", "refund"), again.issue("marty@88mph.com", AGENT, "refund", life_s=-1)):
        with pytest.raises(IdentityRefused):
            verify_user_token(token, issuers, agent_id=AGENT, now=time.time())
