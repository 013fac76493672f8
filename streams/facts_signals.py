"""Facts about signals: who may tell us, how they are answered, what waits for a person, and who hears ours."""

from __future__ import annotations

from weft.digest import sha256

from schemas.facts import Detection, EventStream, Kind, Pending, ResponsePolicy, Subscription, Transmitter
from streams.facts_store import FactsStore


class SignalFacts(FactsStore):
    """Look-ups of a `FactsTable`."""

    def transmitter(self, iss: str) -> Transmitter | None:
        """One transmitter, whatever its state."""
        return self._body(Kind.TRANSMITTER, sha256(iss), Transmitter)

    def transmitters(self) -> tuple[Transmitter, ...]:
        """All transmitters."""
        return self._bodies(Kind.TRANSMITTER, Transmitter)

    def subscription(self, name: str) -> Subscription | None:
        """One of them, whatever its state."""
        return self._body(Kind.SUBSCRIPTION, name, Subscription)

    def subscriptions(self) -> tuple[Subscription, ...]:
        """Our streams at transmitters, by name."""
        return self._bodies(Kind.SUBSCRIPTION, Subscription)

    def responses(self) -> tuple[ResponsePolicy, ...]:
        """All response policies, by name."""
        return self._bodies(Kind.RESPONSE, ResponsePolicy)

    def pending(self) -> tuple[Pending, ...]:
        """Responses beyond a ceiling, in every state."""
        return self._bodies(Kind.PENDING, Pending)

    def detections(self) -> tuple[Detection, ...]:
        """All detections, by name."""
        return self._bodies(Kind.DETECTION, Detection)

    def stream(self, stream_id: str) -> EventStream | None:
        """One receiver's stream of our signals."""
        return self._body(Kind.STREAM, stream_id, EventStream)

    def streams(self) -> tuple[EventStream, ...]:
        """All of them, by id."""
        return self._bodies(Kind.STREAM, EventStream)
