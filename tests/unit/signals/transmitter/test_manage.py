"""What a receiver's request does to its stream, as tables.  SSF 1.0 section 8.1."""

from __future__ import annotations

import json
from typing import Any

import pytest

from schemas.events import CAEP
from schemas.facts import EventStream, PollDelivery, PushDelivery
from schemas.subject_ids import parse_subject
from workers.common.outbound.rules import Rules
from workers.signals.transmitter import manage
from workers.signals.transmitter.bodies import Changes, PollWish, Wishes, read
from workers.signals.transmitter.configuration import Transmitter
from workers.signals.transmitter.outcome import Rejected
from workers.signals.transmitter.wanted import SUPPORTED

HERE = Transmitter("https://tx.example/t1")
RULES = Rules()
PUSH = {"method": "urn:ietf:rfc:8935", "endpoint_url": "https://93.184.215.14/push", "authorization_header": "Bearer s"}
ANN, BOB = ({"format": "email", "email": f"{name}@example.com"} for name in ("ann", "bob"))
REVOKED = f"{CAEP}session-revoked"


def seal(stream_id: str, header: str) -> str:
    return f"sealed-{stream_id}-{len(header)}"


def create(held: int = 0, **said: Any) -> EventStream:
    return manage.create(
        read(Wishes, json.dumps(said)), stream_id="s1", client_id="c1", held=held, rules=RULES, seal=seal, now=1_800_000_000.5
    )


def update(stream: EventStream, **said: Any) -> EventStream:
    return manage.update(stream, read(Changes, json.dumps({"stream_id": "s1", **said})), HERE, rules=RULES, seal=seal)


def replace(stream: EventStream, **said: Any) -> EventStream:
    return manage.replace(stream, read(Changes, json.dumps({"stream_id": "s1", **said})), HERE, rules=RULES, seal=seal)


def test_what_a_receiver_says_is_kept_and_the_rest_is_ours() -> None:
    stream = create(delivery=PUSH, events_requested=[REVOKED], description="d", stream_id="mine", aud="mine", iss="mine", more=1)
    assert stream == EventStream(
        stream_id="s1", client_id="c1", aud="c1", events_requested=(REVOKED,), description="d", created_at=1_800_000_000,
        delivery=PushDelivery(endpoint_url=PUSH["endpoint_url"], authorization="sealed-s1-8"),
    )  # fmt: skip


@pytest.mark.parametrize("delivery", [{}, {"delivery": {"method": "urn:ietf:rfc:8936", "endpoint_url": "https://elsewhere.example/"}}])
def test_without_a_delivery_it_is_a_poll_at_our_own_url(delivery: dict[str, Any]) -> None:
    stream = create(**delivery)
    assert stream.delivery == PollDelivery()
    assert HERE.described(stream, None)["delivery"]["endpoint_url"] == "https://tx.example/ssf/poll/s1"


def test_one_receiver_has_so_many_streams() -> None:
    create(manage.MAX_STREAMS - 1)
    with pytest.raises(Rejected) as refused:
        create(manage.MAX_STREAMS)
    assert refused.value.status == 409


WHOLE = create(delivery=PUSH, events_requested=[REVOKED], description="d")
SUPPLIED = HERE.supplied(WHOLE)


@pytest.mark.parametrize("change", [update, replace])
def test_what_is_ours_may_be_repeated(change: Any) -> None:
    supplied = {name: value for name, value in SUPPLIED.items() if name != "stream_id"}
    said = {**supplied, "events_supported": list(reversed(SUPPORTED))}
    assert change(WHOLE, delivery=PUSH, events_requested=[REVOKED], description="d", **said) == WHOLE


@pytest.mark.parametrize("change", [update, replace])
@pytest.mark.parametrize(
    "said",
    [
        {"iss": "https://tx.example/"}, {"aud": "c2"}, {"aud": ["c1"]}, {"events_supported": []}, {"events_supported": REVOKED},
        {"events_delivered": [REVOKED, REVOKED]}, {"events_delivered": [*SUPPORTED]}, {"min_verification_interval": 6},
        {"min_verification_interval": "5"}, {"min_verification_interval": 5.0}, {"inactivity_timeout": 60}, {"stream_id": "s2"},
        {"delivery": {"method": "urn:ietf:rfc:8936", "endpoint_url": "https://tx.example/ssf/poll/s2"}},
    ],
)  # fmt: skip
def test_what_is_ours_and_said_otherwise_is_refused(change: Any, said: dict[str, Any]) -> None:
    """INVARIANT: nothing that the transmitter says of a stream is changed by its receiver; a request that tries is 400.

    Ignoring such members would break it: the receiver would believe in an audience or events that it will not get.
    """
    with pytest.raises(Rejected) as refused:
        change(WHOLE, **said)
    assert refused.value.status == 400


def test_events_delivered_is_compared_as_it_was_before_the_change() -> None:
    changed = update(WHOLE, events_requested=[f"{CAEP}credential-change"], events_delivered=[REVOKED])
    assert HERE.supplied(changed)["events_delivered"] == [f"{CAEP}credential-change"]


def test_an_update_leaves_alone_what_it_does_not_name_and_a_replacement_forgets_it() -> None:
    assert update(WHOLE, description="e") == WHOLE.model_copy(update={"description": "e"})
    replaced = replace(WHOLE)
    assert (replaced.description, replaced.events_requested, replaced.delivery) == (None, None, PollDelivery())
    kept = ("stream_id", "client_id", "aud", "status", "created_at")
    assert {name: getattr(replaced, name) for name in kept} == {name: getattr(WHOLE, name) for name in kept}


def test_a_changed_endpoint_does_not_get_the_old_credential() -> None:
    """INVARIANT: a credential goes to the endpoint that it was given with, and to no other.

    Merging the members of `delivery` would break it: whoever may change the URL would be sent the secret.
    """
    moved = update(WHOLE, delivery={"method": PUSH["method"], "endpoint_url": "https://93.184.215.15/"})
    assert isinstance(moved.delivery, PushDelivery)
    assert moved.delivery.authorization is None


def test_a_long_description_is_cut_off() -> None:
    assert len(create(description="d" * 1000).description or "") == manage.MAX_DESCRIPTION


@pytest.mark.parametrize("everyone", [True, False])
def test_subjects_are_added_and_removed(*, everyone: bool) -> None:
    ann, bob = parse_subject(ANN), parse_subject(BOB)
    stream = manage.remove_subject(manage.add_subject(create(), ann, default_all=everyone), bob, default_all=everyone)
    assert (stream.added, stream.removed) == (((), (bob,)) if everyone else ((ann,), ()))
    again = manage.remove_subject(manage.add_subject(stream, ann, default_all=everyone), bob, default_all=everyone)
    assert again == stream
    undone = manage.add_subject(manage.remove_subject(stream, ann, default_all=everyone), bob, default_all=everyone)
    assert (undone.added, undone.removed) == (((), (ann,)) if everyone else ((bob,), ()))


def test_a_stream_names_so_many_subjects() -> None:
    stream = create()
    for number in range(manage.MAX_SUBJECTS):
        stream = manage.remove_subject(stream, parse_subject({"format": "opaque", "id": str(number)}), default_all=True)
    with pytest.raises(Rejected) as refused:
        manage.remove_subject(stream, parse_subject(ANN), default_all=True)
    assert refused.value.status == 429


@pytest.mark.parametrize(
    "body",
    [
        "", "null", "[]", '"a"', "{", '{"ack": [1]}', '{"maxEvents": 1.0}', '{"maxEvents": -1}', '{"maxEvents": true}',
        '{"setErrs": {"j": {}}}', '{"returnImmediately": 1}', '{"maxEvents": 1, "maxEvents": 2}', '{"maxEvents": NaN}',
        '{"ack": "j"}', "\ud800",
    ],
)  # fmt: skip
def test_a_poll_that_is_not_in_form(body: str) -> None:
    with pytest.raises(Rejected) as refused:
        read(PollWish, body)
    assert refused.value.status == 400


def test_a_refusal_does_not_repeat_what_was_sent() -> None:
    secret = "Bearer " + "s" * 5000
    with pytest.raises(Rejected) as refused:
        create(delivery={**PUSH, "authorization_header": secret})
    assert "sss" not in (refused.value.answer().body or "")


def test_a_stream_is_no_larger_than_a_fact_should_be() -> None:
    """INVARIANT: what a receiver has kept for ever is bounded, whatever it asks for and however many subjects it names.

    Broken by bounding their numbers alone: a stream of 200 subjects of 2,000 characters is larger than any view reads.
    """
    said = {"events_requested": [f"https://e.example/{number}/{'x' * 480}" for number in range(100)]}
    for decide in (lambda: create(**said), lambda: update(create(), **said), lambda: replace(create(), **said)):
        with pytest.raises(Rejected):
            decide()
    full = create()
    while len(full.wire()) + 2000 < manage.MAX_STREAM_BYTES:
        full = manage.add_subject(full, named(len(full.added)), default_all=False)
    with pytest.raises(Rejected):
        manage.add_subject(full, named(len(full.added)), default_all=False)


def named(number: int) -> Any:
    return parse_subject({"format": "opaque", "id": f"{number}{'x' * 2000}"})
