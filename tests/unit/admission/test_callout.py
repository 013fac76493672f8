"""The server's request: what is one, and what only looks like one."""

from __future__ import annotations

from typing import Any

import pytest
from weft.nkey import KeyPair

from streams import natsjwt
from streams.natsjwt import CurveKey
from streams.operator import AdmissionKeys
from tests.support.identities import NOW
from workers.admission.callout import CalloutRequest, NotARequest, open_request, seal_answer, user_jwt
from workers.admission.decide import Admit

SERVER, SERVER_XKEY = KeyPair("N"), CurveKey()
ACCOUNTS = {name: KeyPair("A").public for name in ("AGENTS", "POINTS", "OPERATORS", "AUTH", "FABRIC", "SYS")}
KEYS = AdmissionKeys({name: KeyPair("A") for name in ("AGENTS", "POINTS", "OPERATORS")}, KeyPair("A"), CurveKey(), ACCOUNTS)


def claims() -> dict[str, Any]:
    return {
        "aud": "nats-authorization-request",
        "exp": NOW + 2,
        "sub": ACCOUNTS["AUTH"],
        "nats": {
            "type": "authorization_request",
            "version": 2,
            "server_id": {"name": "n", "host": "h", "id": SERVER.public, "xkey": SERVER_XKEY.public},
            "user_nkey": "UFRESH",
            "client_info": {"id": 7, "nonce": "n1"},
            "connect_opts": {"nkey": "UKEY", "sig": "s", "auth_token": "operator", "name": "me"},
        },
    }


def sealed(content: dict[str, Any], signer: KeyPair = SERVER, xkey: CurveKey = SERVER_XKEY) -> bytes:
    return xkey.seal(natsjwt.encode(content, signer, now=NOW).encode(), KEYS.xkey.public)


def opened(body: bytes, header: str = SERVER_XKEY.public) -> CalloutRequest:
    return open_request(body, header, KEYS, NOW)


def test_a_request() -> None:
    request = opened(sealed(claims()))
    assert (request.server_id, request.user_nkey) == (SERVER.public, "UFRESH")
    assert (request.attempt.nkey, request.attempt.nonce, request.attempt.signature, request.attempt.token) == (
        "UKEY",
        "n1",
        "s",
        "operator",
    )


def changed(path: str, value: Any) -> dict[str, Any]:
    content = claims()
    *parents, last = path.split(".")
    place = content
    for name in parents:
        place = place[name]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("aud", "another"),
        ("aud", None),
        ("exp", NOW - 1),
        ("exp", None),
        ("exp", "soon"),
        ("nats", None),
        ("nats", []),
        ("nats.type", "authorization_response"),
        ("nats.version", 1),
        ("nats.server_id", None),
        ("nats.server_id.id", KeyPair("N").public),
        ("nats.server_id.xkey", CurveKey().public),
        ("nats.connect_opts", None),
        ("nats.client_info", "x"),
    ],
    ids=lambda one: str(one) if len(str(one)) < 40 else "another key",  # which differs in every run
)
def test_what_only_looks_like_one(path: str, value: Any) -> None:
    with pytest.raises(NotARequest):
        opened(sealed(changed(path, value)))


@pytest.mark.parametrize("field", ["nkey", "sig", "auth_token"])
@pytest.mark.parametrize("value", [None, 7, ["x"], "x" * 20_000])
def test_what_a_connection_did_not_send_is_empty(field: str, value: Any) -> None:
    attempt = opened(sealed(changed(f"nats.connect_opts.{field}", value))).attempt
    assert {"nkey": attempt.nkey, "sig": attempt.signature, "auth_token": attempt.token}[field] == ""


def test_boxes_and_signers() -> None:
    good = sealed(claims())
    stranger = CurveKey()
    not_for_us = SERVER_XKEY.seal(b"x", CurveKey().public)
    for body, header in (
        (good, ""),
        (good, stranger.public),
        (good[:-1], SERVER_XKEY.public),
        (b"", SERVER_XKEY.public),
        (b"x" * 100_000, SERVER_XKEY.public),
        (not_for_us, SERVER_XKEY.public),
        (natsjwt.encode(claims(), SERVER, now=NOW).encode(), SERVER_XKEY.public),
        (sealed(claims(), xkey=stranger), stranger.public),
        (sealed(claims(), KeyPair("U")), SERVER_XKEY.public),
        (sealed(claims(), KeyPair("N")), SERVER_XKEY.public),
        (SERVER_XKEY.seal(b"\xff", KEYS.xkey.public), SERVER_XKEY.public),
    ):
        with pytest.raises(NotARequest):
            opened(body, header)


def answered(user: str | None) -> dict[str, Any]:
    request = opened(sealed(claims()))
    answer = SERVER_XKEY.open(seal_answer(request, KEYS, user, NOW), KEYS.xkey.public)
    found = natsjwt.decode(answer.decode(), "A", now=NOW)
    assert (found["iss"], found["sub"], found["aud"]) == (KEYS.auth.public, "UFRESH", SERVER.public)
    nats: dict[str, Any] = found["nats"]
    return nats


def test_answers() -> None:
    assert answered("jwt")["jwt"] == "jwt"
    refusal = answered(None)
    assert refusal["error"] == "refused"
    assert "jwt" not in refusal


@pytest.mark.parametrize(("kind", "account"), [("agent", "AGENTS"), ("point", "POINTS"), ("operator", "OPERATORS")])
def test_the_users_jwt_holds_no_permission(kind: Any, account: str) -> None:
    """INVARIANT: admission grants a name, an account of its kind and a time; never a permission.

    The server refuses a scoped user's JWT with permissions of its own; one signed by an unscoped key would take them from here.
    """
    request = opened(sealed(claims()))
    found = natsjwt.decode(user_jwt(request, KEYS, Admit(kind, "name", "id", NOW + 60), NOW), "A", now=NOW)
    assert found["nats"] == {"type": "user", "version": 2, "issuer_account": ACCOUNTS[account]}
    assert (found["iss"], found["name"], found["exp"]) == (KEYS.scoped[account].public, "name", NOW + 60)
