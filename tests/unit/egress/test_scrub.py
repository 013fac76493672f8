"""No form of a secret passes the scrubber, wherever the stream is cut; other bytes pass unchanged."""

from __future__ import annotations

import base64
import gzip
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import forms
from workers.egress.decode import STEP_BYTES, Undecodable, decoder
from workers.egress.scrub import Scrubber

SECRET = 'sk-live/A+b&c=9 "q"\\z<>\'~'
RAW = SECRET.encode()
FORMS = {name: form(SECRET).decode("latin-1") for name, form in forms.FORMS.items()}


def allowed(name: str) -> int:
    """How many bytes of a form are not the secret's alone: what stands beside it in base64, and the characters at its edges."""
    return len(FORMS[name]) - FORMS[name].count("\n") - int(1.3 * len(RAW)) * (2 if "lines" in name else 1) if "base64" in name else 0


def run(scrubber: Scrubber, *chunks: bytes) -> bytes:
    return b"".join([*(scrubber.feed(chunk) for chunk in chunks), scrubber.finish()])


@pytest.mark.parametrize("name", FORMS)
def test_no_form_passes_wherever_it_is_cut(name):
    """INVARIANT: an answer that holds the credential, in any of these forms and cut anywhere, reaches the caller without it.

    Looking at each chunk alone, or at the secret as it is and no other form, would break it.
    """
    body = b"before " + FORMS[name].encode("latin-1") + b" after"
    whole = run(Scrubber([RAW]), body)
    assert whole.startswith(b"before ")
    assert whole.endswith(b" after")
    assert len(whole[7:-6].rstrip(b"\0")) - whole[7:-6].count(b"*") <= allowed(name), whole
    assert len(whole) == len(body)
    for cut in range(len(body) + 1):
        assert run(Scrubber([RAW]), body[:cut], body[cut:]) == whole
    assert run(Scrubber([RAW]), *(bytes([byte]) for byte in body)) == whole


@given(st.lists(st.binary(max_size=60), max_size=8))
def test_other_bytes_pass_unchanged(chunks):
    scrubber = Scrubber([b"a-secret-that-is-not-in-there"])
    assert run(scrubber, *chunks) == b"".join(chunks)
    assert scrubber.found == 0


@given(st.lists(st.sampled_from([RAW, RAW[:5], RAW[5:], b"x", b"sk-", RAW.hex().encode()[:9], b"%73"]), max_size=12))
def test_repeats_and_false_starts(chunks):
    out = run(Scrubber([RAW]), *chunks)
    assert RAW not in out
    assert len(out) == sum(map(len, chunks))


def test_an_event_is_not_held_back_for_the_next_one():
    """Verifies that streaming stays streaming: what cannot be the beginning of a form leaves at once."""
    scrubber = Scrubber([RAW])
    assert scrubber.feed(b'data: {"n": 1}\n\n') == b'data: {"n": 1}\n\n'
    assert scrubber.feed(b"data: sk-liv") == b"data: "
    assert scrubber.feed(b"ely") == b"sk-lively"


@pytest.mark.parametrize("size", [8, 64, 16_384])
def test_secrets_of_any_length(size):
    secret = bytes(33 + (n * 7919) % 94 for n in range(size))
    for form in (secret, quote(secret, safe="").encode(), base64.b64encode(secret), secret.hex().encode()):
        out = run(Scrubber([secret]), b"x" * 100 + form[: len(form) // 2], form[len(form) // 2 :] + b"y" * 100)
        assert out.count(b"*") >= len(form) - 4


# --- content codings --------------------------------------------------------------------------------------------------------------------

CODINGS = {**forms.CODINGS, "identity": lambda data: data, "x-gzip": gzip.compress}


@pytest.mark.parametrize("coding", CODINGS)
def test_codings_come_off_in_any_pieces(coding):
    body = b"some text, again and again. " * 2000
    coded = CODINGS[coding](body)
    for size in (1, 7, 1000, len(coded)):
        decoding = decoder(coding)
        out = b"".join(part for at in range(0, len(coded), size) for part in decoding.feed(coded[at : at + size]))
        decoding.finish()
        assert out == body


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_a_bomb_comes_in_bounded_parts(coding):
    coded = CODINGS[coding](bytes(30_000_000))
    assert len(coded) < 60_000
    sizes = [len(part) for part in decoder(coding).feed(coded)]
    assert sum(sizes) == 30_000_000
    assert max(sizes) <= 2 * STEP_BYTES


@pytest.mark.parametrize("coding", ["zstd", "gzip, br", "aws-chunked", "sdch"])
def test_what_we_do_not_know_is_refused(coding):
    with pytest.raises(Undecodable):
        decoder(coding)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
def test_garbage_and_half_an_answer_are_refused(coding):
    with pytest.raises(Undecodable):
        _ = list(decoder(coding).feed(b"\xff not it at all" * 20))
    decoding = decoder(coding)
    _ = list(decoding.feed(CODINGS[coding](b"abc" * 1000)[:-4]))
    with pytest.raises(Undecodable):
        decoding.finish()


def test_members_of_a_gzip_file_follow_each_other():
    decoding = decoder("gzip")
    assert b"".join(decoding.feed(gzip.compress(b"one") + gzip.compress(b"two"))) == b"onetwo"
    decoding.finish()
