"""What an agent sends for each kind of grant."""

import time
from types import SimpleNamespace

import httpx
import jwt
import pytest
from weft.agent import Agent
from weft.dpop import verify_proof
from weft.errors import NonceRequired
from weft.grants import Grant, HTTPCall, Refused, headers_of
from weft.nkey import KeyPair

from workers.common.identity import thumbprint

KEY = KeyPair("U")
URL = "https://tool.example/refunds?dry=1"


def grant(token="a.b.c", **options):
    return Grant("t", "https://tool.example", token, 0, ("refund",), "e", "r", key=KEY, **options)


SENT = {
    "a Transaction Token": (grant(), None, {"Txn-Token": "a.b.c"}),
    "an access token": (grant(token_type="Bearer", leaf=True), None, {"Authorization": "Bearer a.b.c"}),
    "another server's": (grant("opaque~1", token_type="Bearer", leaf=True), None, {"Authorization": "Bearer opaque~1"}),
    "an SVID beside it": (grant(svid_audience="x"), "s.v.id", {"Txn-Token": "a.b.c", "Authorization": "Bearer s.v.id"}),
    "an SVID alone": (grant(None, svid_audience="x", leaf=True), "s.v.id", {"Authorization": "Bearer s.v.id"}),
}


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent(name):
    held, svid, headers = SENT[name]
    assert headers_of(held, "POST", URL, svid) == headers
    assert "a.b.c" not in repr(held)


@pytest.mark.parametrize(("token_type", "header"), [("N_A", "Txn-Token"), ("DPoP", "Authorization")])
def test_a_proof_is_of_the_token_and_by_the_key_that_it_is_bound_to(token_type, header):
    headers = headers_of(grant(proof="dpop", token_type=token_type), "POST", URL)
    assert headers[header] == ("a.b.c" if token_type == "N_A" else "DPoP a.b.c")
    verify_proof(headers["DPoP"], method="POST", url=URL, now=time.time(), token="a.b.c", jkt=thumbprint(KEY.public))


def test_a_proof_of_a_kind_that_nobody_knows_is_refused_before_anything_is_sent():
    with pytest.raises(Refused):
        headers_of(grant(proof="mtls"), "POST", URL)


class Wanting:
    """A tool of somebody else's that wants a nonce in each proof, RFC 9449 section 9; it changes when `fresh` does."""

    def __init__(self, fresh="n1", challenge='DPoP error="use_dpop_nonce", algs="EdDSA"'):
        self.fresh, self.challenge, self.seen = fresh, challenge, []

    def __call__(self, request):
        self.seen.append(request)
        headers = {"DPoP-Nonce": self.fresh}
        try:
            verify_proof(
                request.headers["DPoP"], method=request.method, url=str(request.url), now=time.time(), token="a.b.c", nonce=self.fresh
            )
        except NonceRequired:
            return httpx.Response(401, headers={**headers, "WWW-Authenticate": self.challenge})
        return httpx.Response(200, headers=headers, content=request.content)


def agent(tool):
    return Agent(SimpleNamespace(), http=httpx.AsyncClient(transport=httpx.MockTransport(tool)))


CALL = HTTPCall("POST", "/refunds", b'{"order": 1}')


async def test_9_a_nonce_that_a_tool_asks_for_is_in_the_next_proof_and_those_after_it():
    tool = Wanting()
    caller = agent(tool)
    answer = await caller.send(grant(proof="dpop"), CALL)
    assert (answer.status, answer.body, len(tool.seen)) == (200, CALL.body, 2)
    assert (await caller.send(grant(proof="dpop"), CALL)).status == 200
    assert len(tool.seen) == 3, "it knows the nonce now"
    tool.fresh = "n2"
    assert (await caller.send(grant(proof="dpop"), CALL)).status == 200
    assert len(tool.seen) == 5
    ids = [jwt.decode(request.headers["DPoP"], options={"verify_signature": False})["jti"] for request in tool.seen]
    assert len(set(ids)) == 5, "each request has a proof of its own"


@pytest.mark.parametrize(
    ("tool", "sent"),
    [
        (Wanting(challenge='DPoP error="invalid_token"'), 1),  # refused for something else
        (Wanting(fresh="not one\\"), 1),
    ],
)
async def test_9_it_asks_once_more_and_for_a_nonce_alone(tool, sent):
    assert (await agent(tool).send(grant(proof="dpop"), CALL)).status == 401
    assert len(tool.seen) == sent


async def test_9_who_never_has_enough_is_asked_twice():
    tool = Wanting()

    def insatiable(request):
        tool.fresh += "x"
        return tool(request)

    assert (await agent(insatiable).send(grant(proof="dpop"), CALL)).status == 401
    assert len(tool.seen) == 2
