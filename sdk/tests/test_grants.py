"""What an agent sends for each kind of grant."""

import time

import pytest
from weft.dpop import verify_proof
from weft.grants import Grant, Refused, headers_of
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
