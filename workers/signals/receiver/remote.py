"""The management API of a transmitter, as its client.  SSF 1.0 sections 7 (metadata) and 8.1 (streams, status, subjects, verification).

Every URL is the edge's to check again.  A 401 is answered by one new token and one more try, unless it says that the scope is too small
(RFC 6750 section 3.1), which no new token mends.  What comes back is read member by member: what is missing or of another type is
`RemoteFailed`, and no text of a transmitter is repeated anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import ValidationError

from schemas.facts import Subscription
from schemas.fetching import Fetch, Fetched
from schemas.ssf import well_known_path
from workers.common.fetching import FetchUnavailable
from workers.signals.receiver.tokens import Tokens
from workers.signals.transmitter.ports import Fetches

PUSH, POLL = "urn:ietf:rfc:8935", "urn:ietf:rfc:8936"
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class RemoteFailed(Exception):
    """The transmitter did not do it.  `status` where it answered, `failed` (of `Fetched`) where the request came to nothing."""

    def __init__(self, what: str, status: int | None = None, retry_after_s: float = 0.0, failed: str | None = None) -> None:
        super().__init__(what if status is None else f"{what}: status {status}")
        self.status = status
        self.retry_after_s = retry_after_s
        self.failed = failed


@dataclass(frozen=True, slots=True)
class Metadata:
    """SSF 1.0 section 7.1, as far as a receiver needs it.  Absent endpoints are none."""

    issuer: str
    configuration: str | None
    status: str | None
    add_subject: str | None
    verification: str | None
    starts_with_none: bool  # default_subjects is NONE


@dataclass(frozen=True, slots=True)
class RemoteStream:
    """SSF 1.0 section 8.1.1."""

    stream_id: str
    iss: str
    aud: tuple[str, ...]
    method: str
    endpoint_url: str | None
    events_requested: tuple[str, ...]
    events_delivered: tuple[str, ...]
    description: str | None


class Remote:
    """Of every subscription.  Raises RemoteFailed and NotAuthorized."""

    def __init__(self, fetches: Fetches, tokens: Tokens) -> None:
        self._fetches = fetches
        self._tokens = tokens

    async def metadata(self, iss: str) -> Metadata:
        """Believed only where its `issuer` is the one asked for (section 7.2.3)."""
        origin = urlsplit(iss)
        url = f"{origin.scheme}://{origin.netloc}{well_known_path(iss)}"
        said = _object(await self._send("metadata", "GET", url, None, {}), "the metadata")
        if said.get("issuer") != iss:
            raise RemoteFailed("the metadata is another issuer's")
        ends = {name: _optional(said, f"{name}_endpoint") for name in ("configuration", "status", "add_subject", "verification")}
        return Metadata(iss, **ends, starts_with_none=said.get("default_subjects") == "NONE")

    async def streams(self, of: Subscription, meta: Metadata) -> tuple[RemoteStream, ...]:
        """All of ours (section 8.1.1.2)."""
        said = _json(await self._call(of, "read streams", "GET", _needed(meta.configuration)))
        listed = said if isinstance(said, list) else [said]
        return tuple(read_stream(one) for one in listed)

    async def create(self, of: Subscription, meta: Metadata, wanted: Mapping[str, Any]) -> RemoteStream:
        """Receiver's members only (section 8.1.1.1)."""
        got = await self._call(of, "create stream", "POST", _needed(meta.configuration), wanted, accept=(201, 200))
        return read_stream(_object(got, "the stream"))

    async def update(self, of: Subscription, meta: Metadata, stream_id: str, changed: Mapping[str, Any]) -> None:
        """Section 8.1.1.3; 202: it will."""
        body = {"stream_id": stream_id, **changed}
        await self._call(of, "update stream", "PATCH", _needed(meta.configuration), body, accept=(200, 202))

    async def delete(self, of: Subscription, meta: Metadata, stream_id: str) -> None:
        """Section 8.1.1.5; one that is gone is gone."""
        url = f"{_needed(meta.configuration)}?stream_id={quote(stream_id, safe='')}"
        await self._call(of, "delete stream", "DELETE", url, accept=(204, 200, 404))

    async def status(self, of: Subscription, meta: Metadata, stream_id: str) -> str:
        """`enabled`, `paused` or `disabled` (section 8.1.2.1)."""
        url = f"{_needed(meta.status)}?stream_id={quote(stream_id, safe='')}"
        said = _object(await self._call(of, "read status", "GET", url), "the status").get("status")
        if said not in ("enabled", "paused", "disabled"):
            raise RemoteFailed("the status is none that there is")
        return str(said)

    async def set_status(self, of: Subscription, meta: Metadata, stream_id: str, status: str) -> None:
        """Section 8.1.2.2."""
        body = {"stream_id": stream_id, "status": status}
        await self._call(of, "set status", "POST", _needed(meta.status), body, accept=(200, 202))

    async def add_subject(self, of: Subscription, meta: Metadata, stream_id: str, subject: Mapping[str, Any]) -> None:
        """Section 8.1.3.2; adding again changes nothing."""
        said = {"stream_id": stream_id, "subject": subject, "verified": True}
        await self._call(of, "add subject", "POST", _needed(meta.add_subject), said, accept=(200, 204))

    async def verify(self, of: Subscription, meta: Metadata, stream_id: str, state: str) -> None:
        """Section 8.1.4.2; the answer comes as a SET."""
        body = {"stream_id": stream_id, "state": state}
        await self._call(of, "verification", "POST", _needed(meta.verification), body, accept=(204, 200))

    async def poll(self, of: Subscription, url: str, asked: Mapping[str, Any], deadline_s: float, max_bytes: int) -> dict[str, Any]:
        """RFC 8936 section 2.4."""
        got = await self._call(of, "poll", "POST", url, asked, deadline_s=deadline_s, max_bytes=max_bytes, language="setErrs" in asked)
        return _object(got, "the answer to a poll")

    async def _call(
        self,
        of: Subscription,
        what: str,
        method: Method,
        url: str,
        body: Mapping[str, Any] | None = None,
        *,
        accept: tuple[int, ...] = (200,),
        language: bool = False,
        **limits: Any,
    ) -> Fetched:
        for attempt in (1, 2):
            headers = {"Authorization": f"Bearer {await self._tokens.token(of)}", **({"Content-Language": "en"} if language else {})}
            got = await self._send(what, method, url, body, headers, accept=(*accept, 401), **limits)
            if got.status != 401:
                return got
            if _scope_is_too_small(got):
                raise RemoteFailed(f"{what}: the token's scope is too small", 401)
            self._tokens.forget(of.name)
            if attempt == 2:
                break
        raise RemoteFailed(f"{what}: the token is refused", 401)

    async def _send(
        self,
        what: str,
        method: Method,
        url: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str],
        *,
        accept: tuple[int, ...] = (200,),
        **limits: Any,
    ) -> Fetched:
        sent = [("Accept", "application/json"), *headers.items(), *([("Content-Type", "application/json")] if body is not None else [])]
        text = "" if body is None else json.dumps(body)
        try:
            request = Fetch(use="transmitters", method=method, url=url, headers=tuple(sent), body=text, **limits)
        except ValidationError:
            raise RemoteFailed(f"{what}: no URL, or longer than a request may be") from None
        try:
            got = await self._fetches.fetch(request)
        except FetchUnavailable:
            raise RemoteFailed("no edge answered") from None
        if got.status is None:
            raise RemoteFailed(f"{what}: {got.failed or 'the URL may not be called'}", failed=got.failed)
        if got.status not in accept:
            raise RemoteFailed(what, got.status, _retry_after(got))
        return got


def read_stream(said: object) -> RemoteStream:
    """Raises RemoteFailed."""
    if not isinstance(said, dict) or not isinstance(said.get("delivery"), dict):
        raise RemoteFailed("a stream that cannot be read")
    delivery, aud = said["delivery"], said.get("aud")
    return RemoteStream(
        stream_id=_text(said, "stream_id"),
        iss=_text(said, "iss"),
        aud=_texts(aud if isinstance(aud, list) else [aud]),
        method=_text(delivery, "method"),
        endpoint_url=_optional(delivery, "endpoint_url"),
        events_requested=_texts(said.get("events_requested") or []),
        events_delivered=_texts(said.get("events_delivered") or []),
        description=_optional(said, "description"),
    )


def _needed(url: str | None) -> str:
    if url is None:
        raise RemoteFailed("the transmitter offers no such endpoint")
    return url


def _json(got: Fetched) -> Any:
    try:
        return json.loads(got.body)
    except (ValueError, RecursionError):
        raise RemoteFailed("an answer that is not JSON") from None


def _object(got: Fetched, what: str) -> dict[str, Any]:
    said = _json(got)
    if not isinstance(said, dict):
        raise RemoteFailed(f"{what} is not an object")
    return said


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value:
        raise RemoteFailed(f"{name} is missing")
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise RemoteFailed(f"{name} is no text: half of a surrogate pair (RFC 8259 section 8.2)")
    return value


def _optional(said: Mapping[str, Any], name: str) -> str | None:
    return _text(said, name) if said.get(name) is not None else None


def _texts(values: object) -> tuple[str, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RemoteFailed("a list that is not one of strings")
    return tuple(values)


def _scope_is_too_small(got: Fetched) -> bool:
    return any(name == "www-authenticate" and "insufficient_scope" in value for name, value in got.headers)


def _retry_after(got: Fetched) -> float:
    """RFC 9110 section 10.2.3, in seconds."""
    said = next((value for name, value in got.headers if name == "retry-after"), "")
    return min(float(said), 3600.0) if said.isascii() and said.isdigit() else 0.0
