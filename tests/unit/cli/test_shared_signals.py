"""`weft ssf`: how what people type becomes an event and its subject."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.events import CAEP, RISC
from workers.cli.exits import Exit, Stop
from workers.cli.main import main
from workers.cli.shared_signals import event_of, member_of, subject_from


@pytest.mark.parametrize(
    ("said", "subject"),
    [
        ("ann@example.com", {"format": "email", "email": "ann@example.com"}),
        ("https://op.example#145", {"format": "iss_sub", "iss": "https://op.example", "sub": "145"}),
        ("spiffe://88mph.com/agents/a", {"format": "uri", "uri": "spiffe://88mph.com/agents/a"}),
        ('{"format": "opaque", "id": "x"}', {"format": "opaque", "id": "x"}),
    ],
)
def test_subjects(said: str, subject: dict[str, Any]) -> None:
    assert subject_from(said) == subject


def test_events_by_their_names() -> None:
    assert event_of("session-revoked") == f"{CAEP}session-revoked"
    assert event_of("account-disabled") == f"{RISC}account-disabled"
    assert event_of("https://x.example/e") == "https://x.example/e"


@pytest.mark.parametrize(
    ("said", "member"),
    [("change_type=revoke", ("change_type", "revoke")), ('claims={"a": 1}', ("claims", {"a": 1})), ("a=b=c", ("a", "b=c"))],
)
def test_members(said: str, member: tuple[str, Any]) -> None:
    assert member_of(said) == member


@pytest.mark.parametrize(("call", "said"), [(event_of, "nonsense"), (member_of, "nonsense"), (member_of, "a={"), (subject_from, "{")])
def test_what_cannot_be_read_is_a_mistake_in_usage(call: Any, said: str) -> None:
    with pytest.raises(Stop) as stopped:
        call(said)
    assert stopped.value.status is Exit.USAGE


def test_without_a_fabric_it_says_so(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["streams"], ["dead"], ["resend", "--all"], ["emit", "session-revoked", "--subject", "a@b"]):
        assert main(["ssf", *arguments, "--dir", str(tmp_path / "none")]) == Exit.UNREACHABLE
    assert "no_fabric" in capsys.readouterr().err
