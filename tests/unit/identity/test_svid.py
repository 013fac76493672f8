"""verify_svid: every rule of the checklist (specs/spiffe.md section 14) as a row."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weft.digest import b64u, canonical, sha256
from weft.nkey import KeyPair, decode_public

from schemas.reasons import DenyReason
from tests.support.identities import ADVISOR, INSTANCE, NOW, TRUST_DOMAIN, Keys, Signer, svid_claims
from workers.common.bundles import FactBundles, StaticBundles
from workers.common.identity import IdentityRefused, verify_jwt_svid, verify_svid

ALGS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
SIGNER = Signer()
OTHER = Signer(kid="k1")  # the same kid, another key
KEY = KeyPair("U")
BUNDLES = FactBundles(Keys(SIGNER.fact(assurance="development"), Signer(kid="f1").fact("foreign.example")))


def verify(svid: str, bundles: Any = BUNDLES, **options: Any) -> Any:
    return verify_svid(svid, bundles, **{"now": NOW, "trust_domain": TRUST_DOMAIN, "mode": "development", **options})


def refused(svid: str, bundles: Any = BUNDLES, **options: Any) -> IdentityRefused:
    with pytest.raises(IdentityRefused) as caught:
        verify(svid, bundles, **options)
    return caught.value


def test_a_good_svid() -> None:
    found = verify(SIGNER.sign(svid_claims(KEY.public)), nkey=KEY.public)
    assert (str(found.id), found.instance, found.attested) == (ADVISOR, INSTANCE, True)
    assert (found.assurance, found.nkey, found.exp, found.jti) == ("development", KEY.public, NOW + 300, "one")
    assert found.jkt == sha256(canonical({"crv": "Ed25519", "kty": "OKP", "x": b64u(decode_public(KEY.public, "U"))}))
    assert found.name == f"{INSTANCE}.88mph~com.agents.advisor"
    assert found.caller.id == ADVISOR


@pytest.mark.parametrize("alg", ALGS)
def test_each_of_the_nine_algorithms(alg: str) -> None:
    signer = Signer(alg)
    assert verify(signer.sign(svid_claims(KEY.public)), FactBundles(Keys(signer.fact())))


@pytest.mark.parametrize("typ", ["JWT", "JOSE", None])
def test_typ_may_be_absent(typ: str | None) -> None:
    assert verify(SIGNER.sign(svid_claims(KEY.public), typ=typ))


def test_aud_may_be_an_array_of_one() -> None:
    assert verify(SIGNER.sign(svid_claims(KEY.public, aud=[f"weft:{TRUST_DOMAIN}:{KEY.public}"])))


BAD_CLAIMS: list[tuple[str, dict[str, Any], DenyReason]] = [
    ("no sub", {"sub": None}, DenyReason.SVID_INVALID),
    ("sub is a number", {"sub": 7}, DenyReason.SVID_INVALID),
    ("sub ends in a slash", {"sub": ADVISOR + "/"}, DenyReason.SVID_INVALID),
    ("sub in upper case", {"sub": "SPIFFE://88mph.com/a"}, DenyReason.SVID_INVALID),
    ("sub with a line end", {"sub": ADVISOR + "\n"}, DenyReason.SVID_INVALID),
    ("sub with a lone surrogate", {"sub": ADVISOR + "\ud800"}, DenyReason.SVID_INVALID),
    ("sub is the trust domain", {"sub": "spiffe://88mph.com"}, DenyReason.SVID_INVALID),
    ("sub is too long", {"sub": "spiffe://88mph.com/" + "a" * 500}, DenyReason.SVID_INVALID),
    ("sub of a trust domain without a bundle", {"sub": "spiffe://elsewhere/a"}, DenyReason.SVID_INVALID),
    ("no exp", {"exp": None}, DenyReason.SVID_INVALID),
    ("exp is text", {"exp": str(NOW + 300)}, DenyReason.SVID_INVALID),
    ("exp is a fraction", {"exp": NOW + 0.5}, DenyReason.SVID_INVALID),
    ("exp is true", {"exp": True}, DenyReason.SVID_INVALID),
    ("exp is beyond time", {"exp": 10**12}, DenyReason.SVID_INVALID),
    ("exp is now", {"exp": NOW}, DenyReason.SVID_EXPIRED),
    ("expired", {"exp": NOW - 1}, DenyReason.SVID_EXPIRED),
    ("early", {"nbf": NOW + 6}, DenyReason.SVID_INVALID),
    ("issued in the future", {"iat": NOW + 6}, DenyReason.SVID_INVALID),
    ("lives too long", {"iat": NOW - 3500, "exp": NOW + 300}, DenyReason.SVID_INVALID),
    ("lives too long, without iat", {"iat": None, "exp": NOW + 3700}, DenyReason.SVID_INVALID),
    ("no aud", {"aud": None}, DenyReason.SVID_NOT_BOUND),
    ("aud is empty", {"aud": []}, DenyReason.SVID_NOT_BOUND),
    ("aud is an object", {"aud": {"a": 1}}, DenyReason.SVID_NOT_BOUND),
    ("aud holds a number", {"aud": [1]}, DenyReason.SVID_NOT_BOUND),
    ("aud of another service", {"aud": "https://payments"}, DenyReason.SVID_NOT_BOUND),
    ("aud of another fabric", {"aud": f"weft:other:{KEY.public}"}, DenyReason.SVID_NOT_BOUND),
    ("two audiences", {"aud": [f"weft:{TRUST_DOMAIN}:{KEY.public}", "https://payments"]}, DenyReason.SVID_NOT_BOUND),
    ("aud without a key", {"aud": f"weft:{TRUST_DOMAIN}:"}, DenyReason.SVID_NOT_BOUND),
    ("aud with an account's key", {"aud": f"weft:{TRUST_DOMAIN}:{KeyPair('A').public}"}, DenyReason.SVID_NOT_BOUND),
    ("aud names another key", {"aud": f"weft:{TRUST_DOMAIN}:{KeyPair('U').public}"}, DenyReason.SVID_NOT_BOUND),
    ("instance from a key", {"weft_instance": "k" + "a" * 26}, DenyReason.SVID_INVALID),
    ("instance with a dot", {"weft_instance": "i" + "a" * 25 + "."}, DenyReason.SVID_INVALID),
    ("instance is a list", {"weft_instance": [INSTANCE]}, DenyReason.SVID_INVALID),
    ("unknown assurance", {"weft_assurance": "certain"}, DenyReason.SVID_INVALID),
    ("jti is a number", {"jti": 1}, DenyReason.SVID_INVALID),
]


@pytest.mark.parametrize(("changes", "reason"), [row[1:] for row in BAD_CLAIMS], ids=[row[0] for row in BAD_CLAIMS])
def test_a_signed_svid_with_one_wrong_claim(changes: dict[str, Any], reason: DenyReason) -> None:
    claims = svid_claims(KEY.public, **changes)
    assert refused(SIGNER.sign(claims), nkey=KEY.public).reason is reason


BAD_HEADERS: list[tuple[str, dict[str, Any]]] = [
    ("none", {"alg": "none"}),
    ("a MAC", {"alg": "HS256"}),
    ("EdDSA", {"alg": "EdDSA"}),
    ("alg in lower case", {"alg": "es256"}),
    ("alg is missing", {"alg": None}),
    ("alg is a list", {"alg": ["ES256"]}),
    ("alg of another curve", {"alg": "ES384"}),
    ("alg of another type", {"alg": "RS256"}),
    ("no kid", {"kid": None}),
    ("kid is empty", {"kid": ""}),
    ("kid is a number", {"kid": 1}),
    ("kid is unknown", {"kid": "k2"}),
    ("kid of another trust domain", {"kid": "f1"}),
    ("typ of a Transaction Token", {"typ": "txntoken+jwt"}),
    ("typ in lower case", {"typ": "jwt"}),
    ("typ is a number", {"typ": 1}),
    ("crit", {"crit": ["exp"]}),
    ("an empty crit", {"crit": []}),
]


@pytest.mark.parametrize("header", [row[1] for row in BAD_HEADERS], ids=[row[0] for row in BAD_HEADERS])
def test_a_signed_svid_with_one_wrong_header(header: dict[str, Any]) -> None:
    usual = {"alg": "ES256", "kid": SIGNER.kid, "typ": "JWT"}
    head = {name: value for name, value in {**usual, **header}.items() if value is not None}
    assert refused(SIGNER.raw(json.dumps(head).encode(), json.dumps(svid_claims(KEY.public)).encode())).reason is DenyReason.SVID_INVALID


def test_alg_none_without_a_signature() -> None:
    head = b64u(b'{"alg":"none","kid":"k1"}')
    assert refused(f"{head}.{b64u(json.dumps(svid_claims(KEY.public)).encode())}.").detail == "alg is not allowed"


def test_a_key_in_the_header_is_never_looked_at() -> None:
    evil = Signer(kid=SIGNER.kid)
    assert refused(evil.sign(svid_claims(KEY.public), jwk=evil.jwk, jku="https://evil.example")).detail == "the signature does not verify"


@pytest.mark.parametrize(
    "svid",
    [
        "",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c",
        SIGNER.sign(svid_claims(KEY.public)) + "=",
        SIGNER.sign(svid_claims(KEY.public)) + "\n",
        " " + SIGNER.sign(svid_claims(KEY.public)),
        SIGNER.sign(svid_claims(KEY.public)).rpartition(".")[0] + ".",
        SIGNER.sign(svid_claims(KEY.public))[:-5],
        OTHER.sign(svid_claims(KEY.public)),
        SIGNER.sign(b"[]"),
        SIGNER.sign(b"null"),
        SIGNER.sign(b"\xff\xfe"),
        SIGNER.sign(b'{"exp":NaN}'),
        SIGNER.sign(b'{"exp":' + b"9" * 5000 + b"}"),
        SIGNER.sign(b"[" * 3000),
        SIGNER.sign(svid_claims(KEY.public, pad="x" * 9000)),
        json.dumps({"payload": "", "signatures": []}),
        "é.é.é",
    ],
)
def test_what_is_no_jws_of_ours(svid: str) -> None:
    assert refused(svid).reason is DenyReason.SVID_INVALID


@pytest.mark.parametrize("where", ["header", "payload", "nested"])
def test_duplicate_members(where: str) -> None:
    """INVARIANT: an SVID that two parsers could read differently is refused.

    A decoder that takes the last of duplicates would accept the second `sub` of a token that another part reads by its first.
    """
    head, body = b'{"alg":"ES256","kid":"k1"}', json.dumps(svid_claims(KEY.public)).encode()
    if where == "header":
        head = b'{"alg":"ES256","kid":"k1","kid":"k1"}'
    elif where == "payload":
        body = body[:-1] + b',"sub":"spiffe://88mph.com/agents/other"}'
    else:
        body = body[:-1] + b',"x":{"a":1,"a":2}}'
    assert refused(SIGNER.raw(head, body)).detail.endswith("is not unambiguous JSON")


def test_the_bundle_is_that_of_the_subject() -> None:
    """INVARIANT: a key of one trust domain never signs for another.

    Looking keys up by `kid` alone would let foreign.example sign `spiffe://88mph.com/...`.
    """
    foreign = Signer(kid="f1")
    bundles = FactBundles(Keys(SIGNER.fact(), foreign.fact("foreign.example")))
    assert refused(foreign.sign(svid_claims(KEY.public)), bundles).detail == "no bundle of its trust domain holds this kid"
    theirs = foreign.sign(svid_claims(KEY.public, sub="spiffe://foreign.example/a"))
    assert refused(theirs, bundles).detail == "of another trust domain"
    assert str(verify_jwt_svid(theirs, bundles, now=NOW)[0]) == "spiffe://foreign.example/a"


@pytest.mark.parametrize("state", ["retired", "compromised"])
def test_only_active_keys_count(state: str) -> None:
    assert refused(SIGNER.sign(svid_claims(KEY.public)), FactBundles(Keys(SIGNER.fact(state=state))))


def test_a_fabric_in_production_refuses_development() -> None:
    """INVARIANT: a fabric configured for production accepts no development SVID, whatever the token claims of itself.

    Believing the claim and not the key's record would let a development issuer call itself production.
    """
    claims = svid_claims(KEY.public)
    development = FactBundles(Keys(SIGNER.fact(assurance="development")))
    production = FactBundles(Keys(SIGNER.fact()))
    raised = SIGNER.sign({**claims, "weft_assurance": "production"})
    assert refused(raised, development, mode="production").detail == "a development SVID in a fabric in production"
    assert refused(SIGNER.sign(claims), production, mode="production")
    assert verify(SIGNER.sign(svid_claims(KEY.public, weft_assurance=None)), production, mode="production").assurance == "production"
    with pytest.raises(IdentityRefused):
        verify_svid(raised, development, now=NOW, trust_domain=TRUST_DOMAIN)  # production is what nobody has to ask for


def test_without_an_attested_instance_the_key_names_it() -> None:
    found = verify(SIGNER.sign(svid_claims(KEY.public, weft_instance=None)))
    assert (found.instance, found.attested) == (f"k{KEY.public[1:27].lower()}", False)


def test_static_bundles() -> None:
    assert verify(SIGNER.sign(svid_claims(KEY.public)), StaticBundles({TRUST_DOMAIN: {"k1": SIGNER.public}}))
    assert refused(SIGNER.sign(svid_claims(KEY.public)), StaticBundles({TRUST_DOMAIN: {}}))


def test_no_text_repeats_the_token() -> None:
    """INVARIANT: no refusal text holds a part of the credential.

    Passing on a parser's own message would quote what it choked on.
    """
    for row in BAD_CLAIMS:
        svid = SIGNER.sign(svid_claims(KEY.public, **row[1]))
        text = str(refused(svid, nkey=KEY.public))
        assert not any(part in text for part in (*svid.split("."), KEY.public, "advisor"))


@given(st.text(max_size=300) | st.builds(".".join, st.lists(st.from_regex(r"[A-Za-z0-9_-]{0,60}", fullmatch=True), min_size=3, max_size=3)))
def test_garbage_is_refused(svid: str) -> None:
    refused(svid)


@given(
    st.dictionaries(st.sampled_from(sorted(svid_claims("U"))), st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()))
)
def test_any_mix_of_claims_is_refused_or_good(changes: dict[str, Any]) -> None:
    try:
        found = verify(SIGNER.sign({**svid_claims(KEY.public), **changes}), nkey=KEY.public)
    except IdentityRefused:
        return
    assert found.nkey == KEY.public
    assert NOW < found.exp <= NOW + 3605


@given(st.data())
def test_any_flipped_character_is_refused(data: st.DataObject) -> None:
    svid = SIGNER.sign(svid_claims(KEY.public))
    at = data.draw(st.integers(0, len(svid) - 1))
    other = data.draw(st.sampled_from("Aa0_-.").filter(lambda c: c != svid[at]))
    refused(svid[:at] + other + svid[at + 1 :])
