"""The JSON that receivers send, read.  Pure.  SSF 1.0 section 8.1, RFC 8936 section 2.  What is not in form is 400, never a guess.

Members that nobody defined are ignored.  A member twice is refused: two readers would see two requests.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, StringConstraints, ValidationError
from weft.errors import Malformed
from weft.strictjson import parse_object

from schemas.events.ssf import StreamStatus
from schemas.facts import POLL, PUSH
from schemas.subject_ids import Lenient, SubjectID
from workers.signals.transmitter.outcome import bad

StreamID = Annotated[str, Field(min_length=1, max_length=256)]
Header = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$", max_length=4096)]
MAX_AT_ONCE = 1_000  # of acknowledgements in one poll
ModelT = TypeVar("ModelT", bound=Lenient)


class Push(Lenient):
    """RFC 8935 with SSF 1.0 section 6.1.1."""

    method: Literal["urn:ietf:rfc:8935"] = PUSH
    endpoint_url: Annotated[str, Field(min_length=1, max_length=2048)]
    authorization_header: Header | None = Field(default=None, repr=False)  # the value of the HTTP header Authorization


class Poll(Lenient):
    """RFC 8936 with SSF 1.0 section 6.1.2: the URL is ours to say, and may be repeated."""

    method: Literal["urn:ietf:rfc:8936"] = POLL
    endpoint_url: str | None = None


class Wishes(Lenient):
    """What a receiver may say of a stream."""

    events_requested: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=512)], ...], Field(max_length=256)] | None = None
    delivery: Annotated[Push | Poll, Field(discriminator="method")] | None = None
    description: Annotated[str, Field(max_length=8192)] | None = None


class Changes(Wishes):
    """An update or a replacement: which stream, and what of ours it may repeat."""

    stream_id: StreamID
    iss: Any = None
    aud: Any = None
    events_supported: Any = None
    events_delivered: Any = None
    min_verification_interval: Any = None
    inactivity_timeout: Any = None


class NewStatus(Lenient):
    """SSF 1.0 section 8.1.2.2."""

    stream_id: StreamID
    status: StreamStatus
    reason: Annotated[str, Field(max_length=1024)] | None = None


class SubjectChange(Lenient):
    """SSF 1.0 sections 8.1.3.2 and 8.1.3.3."""

    stream_id: StreamID
    subject: SubjectID
    verified: bool = True


class VerificationWish(Lenient):
    """SSF 1.0 section 8.1.4.2."""

    stream_id: StreamID
    state: Annotated[str, Field(max_length=1024)] | None = None


class SetError(Lenient):
    """RFC 8936 section 2.6."""

    err: Annotated[str, Field(min_length=1, max_length=128)]
    description: Annotated[str, Field(max_length=4096)] = ""


class PollWish(Lenient):
    """RFC 8936 section 2.2."""

    max_events: Annotated[int | None, Field(alias="maxEvents", ge=0)] = None
    return_immediately: Annotated[bool, Field(alias="returnImmediately")] = False
    ack: Annotated[tuple[str, ...], Field(max_length=MAX_AT_ONCE)] = ()
    set_errs: Annotated[dict[str, SetError], Field(alias="setErrs", max_length=MAX_AT_ONCE)] = {}


def read(model: type[ModelT], body: str) -> ModelT:
    """Raises Rejected (400), which names members and quotes none of their values."""
    try:
        said = parse_object(body.encode(), "the body")
        return model.model_validate(_tuples(said))
    except Malformed as error:
        raise bad(str(error)) from None
    except UnicodeEncodeError:
        raise bad("the body is not UTF-8") from None
    except ValidationError as error:
        places = sorted({".".join(str(part) for part in e["loc"][:2]) or "it" for e in error.errors(include_input=False)})
        raise bad(f"not in form: {', '.join(places)[:200]}") from None


def _tuples(value: Any) -> Any:
    """JSON arrays as what strict models take."""
    if isinstance(value, dict):
        return {name: _tuples(member) for name, member in value.items()}
    return tuple(_tuples(member) for member in value) if isinstance(value, list) else value
