"""What the transmitter says of itself, and of a stream.  Pure.  SSF 1.0 sections 7.1 (metadata) and 8.1.1 (stream configuration)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from schemas.facts import POLL, PUSH, EventStream, PollDelivery
from workers.signals.transmitter.wanted import SUPPORTED, delivered


@dataclass(frozen=True, slots=True)
class Transmitter:
    """`issuer`: an https URL, `iss` of every SET."""

    issuer: str
    defaults: Literal["ALL", "NONE"] = "ALL"
    min_verification_interval_s: int = 5

    @property
    def origin(self) -> str:
        """Where the API is."""
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    def poll_url(self, stream_id: str) -> str:
        """Each stream's own (RFC 8936 section 2; SSF 1.0 section 6.1.2)."""
        return f"{self.origin}/ssf/poll/{stream_id}"

    def metadata(self) -> dict[str, Any]:
        """The configuration document; no member is an empty array."""
        return {
            "spec_version": "1_0",
            "issuer": self.issuer,
            "jwks_uri": f"{self.origin}/ssf/jwks.json",
            "delivery_methods_supported": [PUSH, POLL],
            "configuration_endpoint": f"{self.origin}/ssf/streams",
            "status_endpoint": f"{self.origin}/ssf/status",
            "add_subject_endpoint": f"{self.origin}/ssf/subjects/add",
            "remove_subject_endpoint": f"{self.origin}/ssf/subjects/remove",
            "verification_endpoint": f"{self.origin}/ssf/verify",
            "authorization_schemes": [{"spec_urn": "urn:ietf:rfc:6749"}],
            "default_subjects": self.defaults,
        }

    def supplied(self, stream: EventStream) -> dict[str, Any]:
        """What of a stream's configuration is ours to say: a receiver may repeat it and never change it."""
        return {
            "stream_id": stream.stream_id,
            "iss": self.issuer,
            "aud": stream.aud,
            "events_supported": list(SUPPORTED),
            "events_delivered": list(delivered(stream)),
            "min_verification_interval": self.min_verification_interval_s,
        }

    def described(self, stream: EventStream, authorization_header: str | None) -> dict[str, Any]:
        """The whole configuration.  `authorization_header`: in clear, for whoever manages the stream; none for others."""
        told = {**self.supplied(stream), "delivery": self._delivery(stream, authorization_header)}
        if stream.events_requested is not None:
            told["events_requested"] = list(stream.events_requested)
        if stream.description is not None:
            told["description"] = stream.description
        return told

    def _delivery(self, stream: EventStream, authorization_header: str | None) -> dict[str, Any]:
        if isinstance(stream.delivery, PollDelivery):
            return {"method": POLL, "endpoint_url": self.poll_url(stream.stream_id)}
        header = {} if authorization_header is None else {"authorization_header": authorization_header}
        return {"method": PUSH, "endpoint_url": stream.delivery.endpoint_url, **header}


def status_of(stream: EventStream) -> dict[str, Any]:
    """SSF 1.0 section 8.1.2.1."""
    reason = {} if stream.status_reason is None else {"reason": stream.status_reason}
    return {"stream_id": stream.stream_id, "status": stream.status, **reason}
