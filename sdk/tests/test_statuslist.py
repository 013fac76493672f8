"""Token Status List, draft-ietf-oauth-status-list-20: its vectors, the relying party's steps, and whatever else a server may send."""

from __future__ import annotations

import asyncio
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from weft.digest import b64u, unb64u
from weft.errors import GuardReason, Malformed
from weft.statuslist import (
    MAX_LIST_BYTES,
    MEDIA_TYPE,
    SKEW_S,
    Fetched,
    Reference,
    Status,
    StatusList,
    StatusRefused,
    StatusVerifier,
    keys_of,
    parse_list,
    reference_of,
    verify_status_list,
)

from tests.support.signed import NOW, TokenKey

PREFIX = "https://txn-svc.88mph.com/status/"
URI = f"{PREFIX}7"
KEY, OTHER = TokenKey("s1"), TokenKey("s2")
KEYS = {KEY.kid: KEY.public}

# Section 4.1 and 4.2, and the test vectors of appendix C: bits, statuses, uncompressed bytes, `lst`.
VECTORS = [
    (1, [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1], "b9a3", "eNrbuRgAAhcBXQ"),
    (2, [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3], "c944f9", "eNo76fITAAPfAgc"),
    (8, [0, 1, 2, 15], "0001020f", "eNpjYGTiBwAAGgAT"),
]


@pytest.mark.parametrize(("bits", "statuses", "raw", "lst"), VECTORS, ids=["1 bit", "2 bits", "8 bits"])
def test_the_vectors_both_ways(bits, statuses, raw, lst):
    made = StatusList.of(enumerate(statuses), len(statuses), bits)
    assert made.raw.hex() == raw
    read = parse_list({"bits": bits, "lst": lst})
    assert read.raw.hex() == raw  # compressed bytes may differ between builds of zlib
    assert [read.get(idx) for idx in range(len(read))] == statuses
    assert parse_list(made.claim()) == made
    assert unb64u(made.claim()["lst"])[0] == 0x78


@given(st.sampled_from([1, 2, 4, 8]), st.data())
def test_what_is_put_in_comes_out(bits, data):
    size = data.draw(st.integers(1, 40)) * 8
    values = data.draw(st.dictionaries(st.integers(0, size - 1), st.integers(0, (1 << bits) - 1)))
    read = parse_list(StatusList.of(values.items(), size, bits).claim())
    assert [read.get(idx) for idx in range(size)] == [values.get(idx, 0) for idx in range(size)]


@pytest.mark.parametrize("idx", [-1, 16, 10**9])
def test_outside_the_list_there_is_nothing(idx):
    with pytest.raises(IndexError):
        parse_list({"bits": 1, "lst": VECTORS[0][3]}).get(idx)


BOMB = b64u(zlib.compress(b"\0" * (MAX_LIST_BYTES + 1), 9))


@pytest.mark.parametrize(
    "claim",
    [
        {},
        {"bits": 1},
        {"lst": VECTORS[0][3]},
        {"bits": 3, "lst": VECTORS[0][3]},
        {"bits": True, "lst": VECTORS[0][3]},
        {"bits": "1", "lst": VECTORS[0][3]},
        {"bits": 1, "lst": ""},
        {"bits": 1, "lst": "!!"},
        {"bits": 1, "lst": b64u(b"not zlib")},
        {"bits": 1, "lst": b64u(zlib.compress(b"\xb9\xa3")[:-2])},
        {"bits": 1, "lst": b64u(zlib.compress(b"\xb9\xa3") + b"x")},
        {"bits": 1, "lst": BOMB},
    ],
    ids=range(12),
)
def test_what_is_no_list_is_malformed(claim):
    """INVARIANT: a list that cannot be read whole, or is larger than any, is no list.

    Broken by decompressing without a bound (a few kilobytes would fill the memory), or by reading what was cut off.
    """
    with pytest.raises(Malformed):
        parse_list(claim)


def token(statuses=(), key=KEY, header=None, **changes):
    claims = {"sub": URI, "iat": NOW, "exp": NOW + 60, "ttl": 5, "status_list": StatusList.of(statuses, 16).claim()} | changes
    return key.sign({name: value for name, value in claims.items() if value is not None}, **({"typ": "statuslist+jwt"} | (header or {})))


def test_the_drafts_example_is_read():
    claims = {"sub": URI, "iat": NOW, "exp": NOW + 43_200, "ttl": 300, "status_list": {"bits": 1, "lst": "eNrbuRgAAhcBXQ"}}
    read = verify_status_list(KEY.sign(claims, typ="statuslist+jwt"), KEYS, uri=URI, now=NOW)
    assert (read.uri, read.iat, read.exp, read.ttl, read.statuses.get(0), read.statuses.get(1)) == (URI, NOW, NOW + 43_200, 300, 1, 0)


@pytest.mark.parametrize(
    "unverified",
    [
        token(header={"typ": "txntoken+jwt"}),
        token(header={"typ": "JWT"}),
        token(header={"alg": "none"}),
        token(header={"kid": "s2"}),
        token(key=OTHER, header={"kid": "s1"}),
        token(sub=f"{PREFIX}8"),
        token(sub=None),
        token(iat=NOW + SKEW_S + 1),
        token(iat=None),
        token(exp=NOW - SKEW_S - 1),
        token(exp="soon"),
        token(ttl=0),
        token(ttl=-1),
        token(status_list=None),
        token(status_list=[]),
        token()[:-4] + "AAAA",
        "",
        "a.b.c",
    ],
    ids=range(18),
)
def test_a_list_that_is_not_the_issuers_of_now_is_refused(unverified):
    """INVARIANT: a list counts by its signature, its type, its own URI and its time, and by nothing else.

    Broken by taking the list of another URI, one signed by another key or for another purpose, or one that has expired.
    """
    with pytest.raises(Malformed):
        verify_status_list(unverified, KEYS, uri=URI, now=NOW)


class Server:
    """Answers as told; counts."""

    def __init__(self, body=None, **answer):
        self.asked = []
        self.answer = {
            "status": 200,
            "media_type": MEDIA_TYPE,
            "body": body if body is not None else token([(3, 1), (4, 0)]),
            "etag": '"e"',
        }
        self.answer |= answer
        self.fails = False

    async def fetch(self, uri, etag):
        self.asked.append((uri, etag))
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("unreachable")
        return Fetched(**self.answer)


class Clock:
    def __init__(self):
        self.at = NOW

    def __call__(self):
        return self.at


def verifier(server, clock=None):
    return StatusVerifier(server.fetch, KEYS, prefix=PREFIX, clock=clock or Clock())


def referring(idx, uri=URI):
    return {"status": {"status_list": {"idx": idx, "uri": uri}}}


async def reason_of(statuses, claims, **options):
    with pytest.raises(StatusRefused) as refused:
        await statuses.check(claims, **options)
    return refused.value.reason


async def test_valid_passes_and_everything_else_refuses():
    server = Server(token(status_list=StatusList.of([(1, 1), (2, 2), (3, 3)], 16, 2).claim()))
    statuses = verifier(server)
    await statuses.check(referring(0))
    assert [await reason_of(statuses, referring(idx)) for idx in (1, 2, 3)] == [GuardReason.REVOKED] * 3
    assert await reason_of(statuses, referring(16)) is GuardReason.STATUS_UNKNOWN
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"status": {}},
        {"status": "x"},
        {"status": {"status_list": {"idx": 0}}},
        {"status": {"status_list": {"idx": -1, "uri": URI}}},
        {"status": {"status_list": {"idx": "0", "uri": URI}}},
        referring(0, "https://evil.example/status/7"),
        referring(0, "https://txn-svc.88mph.com.evil.example/status/7"),
        referring(0, "http://txn-svc.88mph.com/status/7"),
    ],
    ids=range(9),
)
async def test_a_token_does_not_choose_where_we_look(claims):
    """INVARIANT: nothing is fetched but from the issuer's own lists, and a token without a readable reference is refused.

    Broken by fetching whatever URI a token names: its author would answer, and could have us call anyone.
    """
    server = Server()
    assert await reason_of(verifier(server), claims) is GuardReason.STATUS_UNKNOWN
    assert server.asked == []


async def test_a_token_without_a_status_passes_only_where_none_is_required():
    await verifier(Server()).check({}, required=False)
    assert reference_of({}) is None
    assert reference_of(referring(5)) == Reference(5, URI)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404},
        {"status": 302},
        {"status": 500},
        {"status": 304},  # without anything held
        {"media_type": "application/json"},
        {"media_type": "application/statuslist+cwt"},
        {"body": ""},
        {"body": token(key=OTHER)},
    ],
    ids=range(8),
)
async def test_whoever_cannot_get_a_list_accepts_nothing(answer):
    """INVARIANT: no list, no statement, no acceptance.

    Broken by treating an unreachable or unreadable list as one in which nobody is revoked.
    """
    assert await reason_of(verifier(Server(**answer)), referring(0)) is GuardReason.STATUS_UNKNOWN


async def test_a_server_that_went_away_is_believed_for_the_ttl_and_no_longer(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("weft.statuslist.time.monotonic", lambda: now[0])
    server = Server()
    statuses = verifier(server)
    await statuses.check(referring(0))
    server.fails = True
    now[0] += 4.9
    await statuses.check(referring(0))
    now[0] += 0.2
    assert await reason_of(statuses, referring(0)) is GuardReason.STATUS_UNKNOWN
    server.fails = False
    await statuses.check(referring(0))


async def test_an_unchanged_list_is_asked_for_by_its_etag_and_stands_until_it_expires(monkeypatch):
    now, clock = [1000.0], Clock()
    monkeypatch.setattr("weft.statuslist.time.monotonic", lambda: now[0])
    server = Server()
    statuses = verifier(server, clock)
    await statuses.check(referring(0))
    server.answer |= {"status": 304, "body": "", "media_type": ""}
    now[0] += 6
    await statuses.check(referring(0))
    assert server.asked == [(URI, None), (URI, '"e"')]
    clock.at = NOW + 61
    assert await reason_of(statuses, referring(0)) is GuardReason.STATUS_UNKNOWN  # `exp` overrides whatever HTTP says


async def test_many_checks_at_once_are_one_fetch():
    server = Server()
    statuses = verifier(server)
    outcomes = await asyncio.gather(*(statuses.status(Reference(idx % 16, URI)) for idx in range(200)))
    assert len(server.asked) == 1
    assert set(outcomes) == {Status.VALID, Status.INVALID}


async def test_lists_are_bounded_in_number():
    server = Server()

    async def fetch(uri, etag):
        server.answer["body"] = token(sub=uri)
        return await server.fetch(uri, etag)

    statuses = StatusVerifier(fetch, KEYS, prefix=PREFIX, clock=Clock())
    for number in range(200):
        await statuses.status(Reference(0, f"{PREFIX}{number}"))
    assert len(statuses._held) == len(statuses._locks) == 64


def test_keys_are_read_from_a_jwks():
    assert keys_of({"keys": [{**KEY.jwk, "kid": "s1", "use": "sig"}]})["s1"].public_numbers() == KEY.public.public_numbers()
    with pytest.raises(Malformed):
        keys_of({"keys": [{"kty": "EC"}]})


@given(st.text(max_size=80))
def test_garbage_never_raises_anything_else(text):
    for unverified in (text, json.dumps(text), f"{text}.{text}.{text}"):
        with pytest.raises(Malformed):
            verify_status_list(unverified, KEYS, uri=URI, now=NOW)
