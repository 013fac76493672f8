"""SPIFFE IDs and their one-to-one mapping onto NATS subjects.  SPIFFE-ID.md sections 2.1 to 2.4.

Stricter than the specification in one point, as go-spiffe is: upper case in scheme or trust domain is refused, so that two
strings are equal exactly when the identities are.  `.` becomes `~` in a subject token; SPIFFE allows no `~`, so nothing collides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MAX_ID_BYTES = 2048  # SPIFFE-ID section 2.3: must be supported
MAX_REGISTERED_BYTES = 512  # ours: an ID becomes part of a NATS subject
_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}", re.ASCII)
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+", re.ASCII)


class InvalidSpiffeID(ValueError):
    """The text is no SPIFFE ID; the message says which rule it breaks and never repeats the text."""


@dataclass(frozen=True, slots=True)
class SpiffeID:
    """`spiffe://<trust_domain>[/<segment>...]`, canonical."""

    trust_domain: str
    segments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> SpiffeID:
        """Text to ID; raises InvalidSpiffeID."""
        if not text.startswith("spiffe://"):
            raise InvalidSpiffeID("the scheme is not 'spiffe://'")
        if len(text.encode()) > MAX_ID_BYTES:
            raise InvalidSpiffeID(f"longer than {MAX_ID_BYTES} bytes")
        trust_domain, slash, path = text[len("spiffe://") :].partition("/")
        if not _TRUST_DOMAIN.fullmatch(trust_domain):
            raise InvalidSpiffeID("the trust domain is empty or holds more than a-z 0-9 . - _")
        if slash and not path:
            raise InvalidSpiffeID("a trailing '/' is not allowed")
        segments = tuple(path.split("/")) if slash else ()
        for segment in segments:
            _check_segment(segment)
        return cls(trust_domain, segments)

    @classmethod
    def from_subject(cls, subject: str) -> SpiffeID:
        """The inverse of `.subject`; raises InvalidSpiffeID."""
        return cls.parse("spiffe://" + subject.replace(".", "/").replace("~", "."))

    @property
    def subject(self) -> str:
        """As NATS subject tokens: `spiffe://88mph.com/agents/advisor` is `88mph~com.agents.advisor`."""
        return ".".join(token.replace(".", "~") for token in (self.trust_domain, *self.segments))

    def prefixes(self) -> tuple[SpiffeID, ...]:
        """Every namespace above and including this ID, the trust domain first."""
        return tuple(SpiffeID(self.trust_domain, self.segments[:n]) for n in range(len(self.segments) + 1))

    def __str__(self) -> str:
        return "/".join((f"spiffe://{self.trust_domain}", *self.segments))


def _check_segment(segment: str) -> None:
    if not segment:
        raise InvalidSpiffeID("an empty path segment or a trailing '/' is not allowed")
    if segment in (".", ".."):
        raise InvalidSpiffeID("relative path segments are not allowed")
    if not _SEGMENT.fullmatch(segment):
        raise InvalidSpiffeID("a path segment holds more than A-Z a-z 0-9 . - _")
