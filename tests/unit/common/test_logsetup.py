"""Verifies that what slips into a log line does not get out, and that errors are told by place."""

import io

import pytest
import structlog

from workers.common.logsetup import SCRUBBED, configure, scrub, where

# Made up of parts, so that no scanner takes this file for a leak.
JWS = "eyJhbGciOiJFUzI1NiJ9" + "." + "eyJzdWIiOiJhIn0" + "." + "c2ln"
SEED = "SU" + "A" * 56
PEM = "-----BEGIN " + "PRIVATE KEY-----\nMIG"


@pytest.mark.parametrize("value", [JWS, f"token {JWS} refused", SEED, f"seed={SEED}", PEM, ["a", JWS], {"k": SEED}, JWS.encode()])
def test_a_credential_in_a_value_is_scrubbed(value):
    """INVARIANT: no log line holds a token, a seed or a private key, whoever put it there.

    Taking `scrub` out of the processors, or letting it look at strings alone, would break it.
    """
    line = scrub(None, "info", {"event": "happened", "detail": value})
    assert line == {"event": "happened", "detail": SCRUBBED}


@pytest.mark.parametrize("value", ["plain", 7, 1.5, True, None, "UA" + "A" * 54, "spiffe://88mph.com/agents/a", "a.b.c"])
def test_the_rest_is_left_alone(value):
    assert scrub(None, "info", {"value": value}) == {"value": value}


def test_a_terminal_is_written_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """INVARIANT: what a transmitter or a tool calls something moves no cursor of whoever watches `weft up`.

    Leaving it to the renderer would break it: it quotes what holds a space.
    """
    printed = io.StringIO()
    monkeypatch.setattr("sys.stderr", printed)
    before = structlog.get_config()
    try:
        configure(as_json=False)
        structlog.get_logger().info("signal_stored", signal_event="https://e.example/\x1b[2J\x9b31m")
    finally:
        structlog.configure(**before)
    assert "\x1b[2J" not in printed.getvalue()
    assert "\x9b" not in printed.getvalue()


def raised():
    raise ValueError("SECRET")


def test_where_names_the_place_and_not_the_text():
    for group in (False, True):
        try:
            try:
                raised()
            except ValueError as error:
                if not group:
                    raise
                raise ExceptionGroup("several", [error]) from None
        except (ValueError, ExceptionGroup) as error:
            told = where(error)
        assert told.startswith("unit/common/test_logsetup.py:")
        assert "SECRET" not in told


def test_an_error_from_nowhere():
    assert where(ValueError()) == "-"
