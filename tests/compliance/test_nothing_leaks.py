"""What goes through the OAuth face and must stay nowhere: assertions, subject tokens, proofs, and the tokens that are issued."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compliance.test_txn_tokens import call
from tests.support.oauth import EXCHANGE, TXN, TYPE, OAuthWorld


async def test_nothing_that_authorises_is_on_record_in_a_log_or_in_another_answer(
    world: OAuthWorld, capfd: pytest.CaptureFixture[str]
) -> None:
    """INVARIANT: no assertion, subject token, proof or issued token stands on RECORD or in a log line, granted or refused.

    Broken by recording the form, by logging an exception's text, or by a refusal that quotes what it refuses.
    """
    secrets: list[str] = []
    answers: list[str] = []

    async def post(path: str, form: dict[str, Any], proof: str | None = None) -> str | None:
        secrets.extend(
            str(form[name]) for name in ("client_assertion", "subject_token", "actor_token", "token") if len(str(form.get(name, ""))) > 60
        )
        secrets.extend([proof] if proof else [])
        answer = await world.post(path, form, headers={"dpop": proof} if proof else {})
        issued = answer.json().get("access_token") if answer.content else None
        answers.append(answer.text if issued is None else "")
        secrets.extend([issued] if issued else [])
        return issued

    person = world.person(aud="https://api.88mph.com")
    access = await post("/oauth/token", {"grant_type": "client_credentials", **world.proven()}, world.proof())
    root = await post("/oauth/token", world.exchange(subject_token=person, subject_token_type=f"{TYPE}access_token"))
    assert access
    assert root
    await post("/oauth/token", world.exchange(subject_token=root, subject_token_type=TXN))
    actor = {"actor_token": world.svid()["client_assertion"], "actor_token_type": f"{TYPE}jwt"}
    for changes in ({}, {"subject_token": person, "subject_token_type": f"{TYPE}access_token"}, {"actor_token": person}):
        await post("/oauth/token", world.exchange("researcher", **{**actor, **changes}))
    await post("/oauth/token", world.exchange(subject_token=person + "x", subject_token_type=f"{TYPE}access_token"))
    await post("/oauth/token", world.exchange(subject_token=person, subject_token_type=TXN))
    await post("/oauth/token", world.exchange(scope="payments.all", subject_token=person, subject_token_type=f"{TYPE}access_token"))
    await post("/oauth/token", {"grant_type": EXCHANGE, **world.proven(aud="https://other")}, world.proof())
    await post("/oauth/token", {"grant_type": "client_credentials", **world.proven()}, "x" + world.proof())
    await post("/oauth/introspect", {**world.proven(), "token": access})
    await post("/oauth/revoke", {**world.proven("front"), "token": access})
    secrets.append((await call(world)).json()["access_token"])
    seen = json.dumps(await world.records()) + "".join(answers) + "".join(capfd.readouterr())
    for secret in secrets:
        for part in {secret, secret.rsplit(".", 1)[-1]}:  # a signature alone would do, beside claims that are on record
            assert len(part) < 40 or part not in seen
