"""The verifier's numbered steps, each with what it refuses; what it remembers; garbage."""

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weft.digest import b64u, sha256, unb64u
from weft.errors import GuardReason, TokenRefused, UnknownTokenKey
from weft.token import MAX_TOKEN_BYTES, SKEW_S, TokenVerifier, verify_token

from tests.support.signed import ADVISOR, INSTANCE, ISSUER, NOW, TokenKey, claims

KEY = TokenKey()
OTHER = TokenKey()
KEYS = {KEY.kid: KEY.public}


def verify(token, now=NOW, keys=KEYS):
    return verify_token(token, keys, issuer=ISSUER, audiences=["88mph.com"], now=now)


def reason_of(token, now=NOW):
    with pytest.raises(TokenRefused) as refused:
        verify(token, now)
    assert token[:40] not in str(refused.value) or len(token) < 8
    return refused.value.reason


def test_a_good_token_gives_every_claim():
    token = KEY.sign(claims(jti="j1", txn="t1", act_chain=[{"sub": ADVISOR, "instance": INSTANCE, "jti": "j0", "tool": "a", "iat": NOW}]))
    verified = verify(token)
    assert (verified.jti, verified.txn, verified.sub, verified.act.sub) == ("j1", "t1", "marty", ADVISOR)
    assert verified.act_chain[0].jti == "j0"
    assert (verified.raw, verified.digest, verified.kid) == (token, sha256(token), KEY.kid)
    assert token not in repr(verified)


def test_claims_nobody_named_are_ignored():
    assert verify(KEY.sign(claims(new_claim={"a": 1}))).sub == "marty"


FORM = {
    "empty": "",
    "one part": "abc",
    "two parts": "a.b",
    "four parts": KEY.sign(claims()) + ".AA",
    "padding": KEY.sign(claims()) + "=",
    "white space": " " + KEY.sign(claims()),
    "not ASCII": "é" + KEY.sign(claims()),
    "header is no JSON": f"{b64u(b'{')}.{b64u(b'{}')}.AA",
    "payload is a list": KEY.sign(b"[]"),
    "payload twice a member": KEY.sign(b'{"iss":"a","iss":"b"}'),
    "NaN": KEY.sign(b'{"exp":NaN}'),
    "not UTF-8": KEY.sign(b'{"iss":"\xff"}'),
    "deep": KEY.sign(b"[" * 2000),
}


@pytest.mark.parametrize("name", FORM)
def test_step_1_form(name):
    assert reason_of(FORM[name]) is GuardReason.MALFORMED


def test_step_1_size_is_checked_before_anything_is_read():
    assert reason_of("." * (MAX_TOKEN_BYTES + 1)) is GuardReason.TOO_LARGE


def test_step_1_a_token_has_one_spelling():
    """Another text for the same bytes would be another digest, and so another entry of a replay cache."""
    head, payload, signature = KEY.sign(claims()).split(".")
    last = signature[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = signature[:-1] + next(c for c in alphabet if c != last and _lenient(signature[:-1] + c) == _lenient(signature))
    assert reason_of(f"{head}.{payload}.{twin}") is GuardReason.MALFORMED


def _lenient(text):
    import base64

    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


HEADERS = {
    "none": {"alg": "none"},
    "HS256": {"alg": "HS256"},
    "another typ": {"typ": "JWT"},
    "no typ": {"typ": None},
    "no kid": {"kid": None},
    "kid of another type": {"kid": 7},
    "crit": {"crit": ["exp"]},
    "a key of its own": {"jwk": OTHER.jwk},
    "another key": {"kid": "t2"},
}


@pytest.mark.parametrize("name", HEADERS)
def test_step_2_header(name):
    assert reason_of(KEY.sign(claims(), **HEADERS[name])) is GuardReason.SIGNATURE


def test_step_2_an_unknown_key_says_so():
    """The guard attaches again then."""
    with pytest.raises(UnknownTokenKey):
        verify(KEY.sign(claims(), kid="t2"))


def test_step_3_signature_of_another_key():
    assert reason_of(OTHER.sign(claims())) is GuardReason.SIGNATURE


@pytest.mark.parametrize("signature", [b"", b"\0" * 64, b"\0" * 63, b"\xff" * 64, b"\1" * 96])
def test_step_3_signatures_that_are_none(signature):
    head, payload, _ = KEY.sign(claims()).split(".")
    assert reason_of(f"{head}.{payload}.{b64u(signature)}") is GuardReason.SIGNATURE


def test_step_3_a_changed_payload():
    head, payload, signature = KEY.sign(claims()).split(".")
    changed = json.loads(unb64u(payload)) | {"sub": "biff"}
    assert reason_of(f"{head}.{b64u(json.dumps(changed).encode())}.{signature}") is GuardReason.SIGNATURE


def test_step_4_another_issuer():
    assert reason_of(KEY.sign(claims(iss="https://other"))) is GuardReason.SIGNATURE


@pytest.mark.parametrize(
    ("late_s", "reason"),
    [(60, None), (60 + SKEW_S, None), (60 + SKEW_S + 1, GuardReason.EXPIRED), (-SKEW_S, None), (-SKEW_S - 1, GuardReason.NOT_YET)],
)
def test_step_4_times(late_s, reason):
    token = KEY.sign(claims())
    if reason is None:
        assert verify(token, NOW + late_s)
    else:
        assert reason_of(token, NOW + late_s) is reason


def test_step_4_no_token_lives_longer_than_a_revocation_is_kept():
    assert reason_of(KEY.sign(claims(exp=NOW + 301))) is GuardReason.EXPIRED


@pytest.mark.parametrize("aud", ["other.com", ["88mph.com"], "", None])
def test_step_5_audience(aud):
    assert reason_of(KEY.sign(claims(aud=aud))) is GuardReason.AUDIENCE


SHAPES = {
    "no txn": {"txn": None},
    "numeric sub": {"sub": 5},
    "surrogate": {"sub": "\ud800"},
    "boolean rev": {"rev": True},
    "negative rev": {"rev": -1},
    "fractional iat": {"iat": 1.5},
    "agent that is no SPIFFE ID": {"act": {"sub": "http://x", "instance": INSTANCE}},
    "instance": {"act": {"sub": ADVISOR, "instance": "me"}},
    "nine hops": {"act_chain": [{"sub": ADVISOR, "instance": INSTANCE, "jti": "j", "tool": "a", "iat": 1}] * 9},
    "no cnf": {"cnf": None},
    "call without a tool": {"call": {}},
    "evidence that is a text": {"evidence": "x"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_step_6_shape(name):
    assert reason_of(KEY.sign(claims(**SHAPES[name]))) is GuardReason.MALFORMED


# --- what is remembered -----------------------------------------------------------------------------------------------------------


def verifier(keys=None, **options):
    return TokenVerifier(KEYS if keys is None else keys, issuer=ISSUER, audiences=["88mph.com"], **options)


def test_a_token_seen_before_is_the_same_object():
    seen, token = verifier(), KEY.sign(claims())
    assert seen.verify(token, NOW) is seen.verify(token, NOW + 30)


def test_a_remembered_token_expires_all_the_same():
    """INVARIANT: remembering a token never lengthens its life.

    A cache that answers before it looks at the clock would break it.
    """
    seen, token = verifier(), KEY.sign(claims())
    seen.verify(token, NOW)
    with pytest.raises(TokenRefused) as refused:
        seen.verify(token, NOW + 66)
    assert refused.value.reason is GuardReason.EXPIRED


def test_a_remembered_token_dies_with_its_key():
    """INVARIANT: a key that is withdrawn takes every token with it, seen or new.

    A cache that forgets which key it verified with would break it.
    """
    keys = dict(KEYS)
    seen, token = verifier(keys), KEY.sign(claims())
    seen.verify(token, NOW)
    keys[KEY.kid] = OTHER.public
    with pytest.raises(TokenRefused):
        seen.verify(token, NOW)
    del keys[KEY.kid]
    with pytest.raises(TokenRefused):
        seen.verify(token, NOW)


def test_what_is_remembered_is_bounded():
    seen = verifier(max_remembered=3)
    for _ in range(10):
        seen.verify(KEY.sign(claims()), NOW)
    assert len(seen._seen) == 3


# --- garbage ----------------------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_garbage_is_refused(text):
    """INVARIANT: whatever arrives as a token is verified or refused with a reason; nothing else is ever raised.

    A parser whose own exception reaches the tool would break it.
    """
    with pytest.raises(TokenRefused):
        verifier().verify(text, NOW)


@given(st.sampled_from(sorted(claims())), JSON)
def test_a_signed_payload_of_any_shape_is_verified_or_refused(name, value):
    """INVARIANT: also a payload signed by the fabric's own key cannot make the verifier raise anything but a refusal.

    A claim used before its type is known would break it.
    """
    try:
        raw = json.dumps(claims() | {name: value})
    except ValueError:
        return
    with contextlib.suppress(TokenRefused):
        assert verify(KEY.sign(raw.encode(errors="surrogatepass"))).targets
