"""RFC 9449, by section: the proof (4.2), its verification (4.3), the resource server (7), nonces (8) and replay (11.1).

The vectors are the RFC's own; what we make is read by a second implementation (PyJWT), and what that makes by us.
"""

import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from weft.digest import b64u, sha256
from weft.dpop import LIFE_S, SKEW_S, make_proof, normalised, public_jwk, thumbprint, verify_proof
from weft.errors import GuardReason, Malformed, NonceRequired, ProofRefused
from weft.nkey import KeyPair

from workers.common.identity import thumbprint as bound_to

NOW = 1_562_262_616
URL = "https://tool.example.org/refunds"
TOKEN = "eyJ.eyJ.sig"
EC_JWK = {
    "kty": "EC",
    "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
    "crv": "P-256",
}
JKT = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
ACCESS_TOKEN = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
HEADER = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMi"
    "LCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19"
)
TOKEN_REQUEST = (  # section 4.1, figure 2
    f"{HEADER}.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYy"
    "NjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
RESOURCE_REQUEST = (  # section 7.1, figure 12
    f"{HEADER}.eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIs"
    "ImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1"
    "plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
)
KEY = ec.derive_private_key(7, ec.SECP256R1())
PUBLIC = json.loads(ECAlgorithm.to_jwk(KEY.public_key()))


def proof(key=KEY, alg="ES256", header=(), **claims):
    """A proof by the second implementation, with these changes; None leaves a member out."""
    head = {"typ": "dpop+jwt", "jwk": PUBLIC} | dict(header)
    payload = {"jti": "j-1", "htm": "POST", "htu": URL, "iat": NOW, "ath": sha256(TOKEN)} | claims
    kept = {name: value for name, value in head.items() if value is not None}
    return jwt.encode({k: v for k, v in payload.items() if v is not None}, key, alg, headers=kept)


def verify(shown, **changes):
    asked = {"method": "POST", "url": URL, "now": NOW, "token": TOKEN, "jkt": thumbprint(PUBLIC)} | changes
    return verify_proof(shown, **asked)


def test_4_1_the_token_request_of_the_rfc_verifies():
    verified = verify_proof(TOKEN_REQUEST, method="POST", url="https://server.example.com/token", now=NOW)
    assert (verified.jti, verified.jkt) == ("-BwC3ESc6acc2lTc", JKT)


def test_7_1_the_protected_resource_request_of_the_rfc_verifies():
    url = "https://resource.example.org/protectedresource"
    verified = verify_proof(RESOURCE_REQUEST, method="GET", url=url, now=NOW + 2, token=ACCESS_TOKEN, jkt=JKT)
    assert verified.jti == "e1j3V_bKic8-LAEB"


def test_4_2_ath_of_the_rfc():
    assert sha256(ACCESS_TOKEN) == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


def test_6_1_the_thumbprint_of_the_rfc_and_of_an_instances_key():
    key = KeyPair("U")
    assert thumbprint(EC_JWK | {"kid": "ignored", "use": "sig"}) == JKT
    assert thumbprint(public_jwk(key.public)) == bound_to(key.public)


def test_4_2_what_an_agent_makes_another_implementation_reads():
    key = KeyPair("U")
    made = make_proof(key, "post", URL + "?dry=1#x", TOKEN, now=NOW, nonce="n")
    header = jwt.get_unverified_header(made)
    claims = jwt.decode(made, OKPAlgorithm.from_jwk(header["jwk"]), ["EdDSA"], options={"verify_iat": False})
    assert (header["typ"], sorted(header["jwk"])) == ("dpop+jwt", ["crv", "kty", "x"])
    assert claims | {"jti": ""} == {"jti": "", "htm": "POST", "htu": URL, "iat": NOW, "ath": sha256(TOKEN), "nonce": "n"}
    verify(made, jkt=bound_to(key.public), nonce="n")
    assert make_proof(key, "post", URL, TOKEN, now=NOW) != make_proof(key, "post", URL, TOKEN, now=NOW), "each has a jti of its own"


def ed25519_proof(alg):
    key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
    jwk = json.loads(OKPAlgorithm.to_jwk(key.public_key()))
    header = b64u(json.dumps({"typ": "dpop+jwt", "alg": alg, "jwk": jwk}).encode())
    payload = b64u(json.dumps({"jti": "j", "htm": "POST", "htu": URL, "iat": NOW}).encode())
    return f"{header}.{payload}.{b64u(key.sign(f'{header}.{payload}'.encode()))}"


@pytest.mark.parametrize("alg", ["EdDSA", "Ed25519"])
def test_4_3_both_names_of_ed25519(alg):
    verify_proof(ed25519_proof(alg), method="POST", url=URL, now=NOW)


RSA = rsa.generate_private_key(65537, 2048)
RSA_JWK = json.loads(RSAAlgorithm.to_jwk(RSA.public_key()))
OTHER = ec.derive_private_key(8, ec.SECP256R1())
PRIVATE = json.loads(ECAlgorithm.to_jwk(KEY))
UNSIGNED = ".".join([b64u(json.dumps({"typ": "dpop+jwt", "alg": "none", "jwk": PUBLIC}).encode()), proof().split(".")[1], ""])
SPLIT = proof().split(".")
TWICE = b64u(b'{"typ":"dpop+jwt","alg":"ES256","alg":"ES256"}')

REFUSED = {
    "2 not a JWT": ("abc", {}),
    "2 two JWTs": (f"{proof()},{proof()}", {}),
    "2 too long": (proof(pad="x" * 5000), {}),
    "2 a member twice": (f"{TWICE}.{SPLIT[1]}.{SPLIT[2]}", {}),
    "2 padded base64": (f"{SPLIT[0]}=.{SPLIT[1]}.{SPLIT[2]}", {}),
    "3 no jti": (proof(jti=None), {}),
    "3 an endless jti": (proof(jti="j" * 257), {}),
    "3 no htm": (proof(htm=None), {}),
    "3 no htu": (proof(htu=None), {}),
    "3 no iat": (proof(iat=None), {}),
    "3 iat as text": (proof(iat=str(NOW)), {}),
    "4 typ JWT": (proof(header={"typ": "JWT"}), {}),
    "4 an access token as proof": (proof(header={"typ": "at+jwt"}), {}),
    "5 alg none": (UNSIGNED, {}),
    "5 a MAC": (proof(b"s" * 32, "HS256"), {}),
    "5 an algorithm that is not ours": (proof(RSA, "RS256", {"jwk": RSA_JWK}), {}),
    "5 an algorithm that this verifier does not take": (proof(), {"algorithms": ("EdDSA",)}),
    "5 crit": (proof(header={"crit": ["b64"], "b64": True}), {}),
    "6 signed by another key": (proof(OTHER), {}),
    "6 a payload that was changed": (f"{SPLIT[0]}.{proof(htm='GET').split('.')[1]}.{SPLIT[2]}", {}),
    "6 a key of another kind than alg": (proof(header={"jwk": public_jwk(KeyPair("U").public)}), {}),
    "7 a private key": (proof(header={"jwk": PRIVATE}), {}),
    "7 no key": (proof(header={"jwk": None}), {}),
    "8 another method": (proof(), {"method": "PUT"}),
    "8 the method in small letters": (proof(htm="post"), {}),
    "9 another path": (proof(), {"url": URL + "/1"}),
    "9 another host": (proof(), {"url": "https://other.example.org/refunds"}),
    "9 another scheme": (proof(), {"url": URL.replace("https", "http")}),
    "9 another port": (proof(), {"url": "https://tool.example.org:8443/refunds"}),
    "9 a user in the URL": (proof(htu="https://tool.example.org@evil.example/refunds"), {}),
    "9 no URL": (proof(htu="/refunds"), {}),
    "11 made too long ago": (proof(iat=NOW - LIFE_S - SKEW_S - 1), {}),
    "11 made in the future": (proof(iat=NOW + SKEW_S + 1), {}),
    "12 no ath": (proof(ath=None), {}),
    "12 of another token": (proof(ath=sha256("another")), {}),
    "12 ath in another encoding": (proof(ath=base64.b64encode(b"x" * 32).decode()), {}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_4_3_checks_by_number(name):
    """INVARIANT: a proof counts for one request, one token and a moment, by the key that the token is bound to.

    Leaving out any of the checks of RFC 9449 section 4.3 would break it.
    """
    shown, changes = REFUSED[name]
    verify(proof())
    with pytest.raises(ProofRefused) as refusal:
        verify(shown, **changes)
    assert refusal.value.reason is GuardReason.PROOF_INVALID
    assert all(part not in str(refusal.value) for part in shown.split(".") if len(part) > 12), "nothing of a proof is repeated"


def test_4_3_12_by_another_key_than_the_tokens():
    with pytest.raises(ProofRefused) as refusal:
        verify(proof(), jkt="x" * 43)
    assert refusal.value.reason is GuardReason.NOT_BOUND


@pytest.mark.parametrize("seen", [None, "old"])
def test_8_a_nonce_that_was_given_out(seen):
    verify(proof(nonce="n1"), nonce="n1")
    with pytest.raises(NonceRequired):
        verify(proof(nonce=seen), nonce="n1")


def test_8_whatever_else_is_wrong_comes_before_the_nonce():
    with pytest.raises(ProofRefused) as refusal:
        verify(proof(OTHER, nonce="old"), nonce="n1")
    assert not isinstance(refusal.value, NonceRequired)


@pytest.mark.parametrize("iat", [NOW - LIFE_S - SKEW_S, NOW, NOW + SKEW_S])
def test_11_1_a_proof_is_claimed_for_as_long_as_it_counts(iat):
    verified = verify(proof(iat=iat))
    with pytest.raises(ProofRefused):
        verify(proof(iat=iat), now=verified.exp + 1)


def test_11_1_what_is_claimed_is_the_jti_at_this_url():
    here, there = verify(proof()), verify(proof(htu=URL + "/1"), url=URL + "/1")
    again = verify(proof(htu="HTTPS://tool.example.org:443/%72efunds"))
    assert here.claim != there.claim
    assert here.claim == again.claim, "another spelling of the URL is no other proof"


SAME = {
    "HTTPS://Tool.Example.ORG/refunds": URL,
    "https://tool.example.org:443/refunds": URL,
    "https://tool.example.org/refunds?dry=1": URL,
    "https://tool.example.org/refunds#top": URL,
    "https://tool.example.org/a/../refunds": URL,
    "https://tool.example.org/./refunds": URL,
    "https://tool.example.org/%72efunds": URL,
    "https://tool.example.org": "https://tool.example.org/",
    "http://127.0.0.1:80/a%2fb": "http://127.0.0.1/a%2Fb",
    "http://[::1]:8080/a/..": "http://[::1]:8080/",
    "https://tool.example.org/a/b/..": "https://tool.example.org/a/",
    "https://tool.example.org/../..": "https://tool.example.org/",
}


@pytest.mark.parametrize("url", SAME)
def test_4_3_9_normalisation(url):
    assert normalised(url) == SAME[url]
    assert normalised(normalised(url)) == SAME[url]


@pytest.mark.parametrize(
    "url", ["", "refunds", "ftp://a/b", "https://", "https://a b/", "https://a:port/", "https://ü.example/", "https://u@a/"]
)
def test_4_3_9_what_is_no_target(url):
    with pytest.raises(Malformed):
        normalised(url)


def test_4_3_9_slashes_that_count_stay():
    assert normalised("https://a/b//c/") == "https://a/b//c/"
