"""What a person sees of what waits: enough to answer, and nothing that an agent wrote moves the terminal."""

from __future__ import annotations

from typing import Any

from workers.cli.waiting import _of_approval, _of_response, _paragraph

APPROVAL: dict[str, Any] = {
    "id": "a1", "state": "pending", "agent": "spiffe://88mph.com/agents/a", "instance": "i1", "user": "marty@88mph.com", "tool": "pay",
    "actions": ["refund"], "purpose": "process.refund", "call": {"method": "POST", "path": "P" * 43, "body": "B" * 43}, "asked_at": 1,
    "expires_at": 2, "explanation": "e1",
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "p1", "state": "pending", "iss": "https://risk", "event": "https://e", "confidence": "high", "policy": "p", "rule": "r",
    "response": "quarantine", "scope": "agent", "value": "spiffe://88mph.com/agents/a", "why": "quarantine is stronger than narrow",
    "duration_s": 60, "asked_at": 1, "expires_at": 2,
}  # fmt: skip


def test_an_approval_shows_the_call_where_the_agent_showed_it_and_says_so_where_not() -> None:
    text = _paragraph(APPROVAL, _of_approval(APPROVAL))
    assert "digests: the agent did not show the call" in text
    assert "marty@88mph.com" in text
    shown = APPROVAL | {"arguments": {"path": "/refunds", "body": '{"order":1}'}, "not_by_you": "it is asked on your own behalf"}
    text = _paragraph(shown, _of_approval(shown))
    assert "POST /refunds" in text
    assert '{"order":1}' in text
    assert "on your own behalf" in text


def test_what_an_agent_wrote_does_not_reach_the_terminal_as_it_is() -> None:
    """INVARIANT: an agent's words cannot paint over what it asks for.

    Broken by printing them: a few control characters would show another order than the one that is approved.
    """
    hostile = APPROVAL | {"intent": "\x1b[2Afor order 2\nagent  spiffe://else", "arguments": {"path": "/x\r/y", "body": "\x1b[8m"}}
    text = _paragraph(hostile, _of_approval(hostile))
    assert "\x1b" not in text
    assert "\r" not in text
    assert not any(line.startswith("agent ") for line in text.splitlines())


def test_a_response_shows_what_it_would_do_to_whom_and_why_it_waits() -> None:
    text = _paragraph(RESPONSE, _of_response(RESPONSE))
    assert "quarantine agent spiffe://88mph.com/agents/a for 60 s" in text
    assert "quarantine is stronger than narrow" in text
    assert "p/r" in text
