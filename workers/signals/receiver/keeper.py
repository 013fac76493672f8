"""Holds our stream at a transmitter to what the subscription says: found or made, with these events, enabled, verified.

A stream is ours by the URL it pushes to, or by its description; where a transmitter allows one stream only, by being that one.  Should two
copies have made one each, the first by id stays.  A stream of another issuer, or for another audience, is neither polled nor verified:
what it sends would be refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import structlog

from schemas.facts import Subscription, Transmitter
from workers.common import log
from workers.common.clock import Clock
from workers.signals.receiver.remote import POLL, PUSH, Metadata, Remote, RemoteFailed, RemoteStream
from workers.signals.receiver.secrets import Secrets

CONFLICT, TOO_OFTEN, NO_METHOD = 409, 429, (404, 405, 501)
logger = structlog.get_logger()


class Keeper:
    """`hold` and `begin` may be called as often as one likes."""

    def __init__(
        self, remote: Remote, secrets: Secrets, transmitter_of: Callable[[str], Transmitter | None], clock: Clock, *, base: str, domain: str
    ) -> None:
        """`base`: our own HTTPS address, to push to; `domain`: the trust domain, for descriptions."""
        parts = urlsplit(base)
        self._receive = f"{parts.scheme}://{parts.netloc}/ssf/receive"
        self._remote = remote
        self._secrets = secrets
        self._transmitter_of = transmitter_of
        self._clock = clock
        self._domain = domain
        self._verified: set[str] = set()

    async def hold(self, wanted: Subscription) -> RemoteStream:
        """Our stream as it is now.  Raises RemoteFailed, NotAuthorized."""
        meta = await self._remote.metadata(wanted.iss)
        stream = await self._found_or_made(wanted, meta)
        self._check(wanted, stream)
        if set(stream.events_requested) != set(wanted.events):
            stream = await self._updated(wanted, meta, stream)
        return stream

    async def begin(self, wanted: Subscription, stream: RemoteStream) -> None:
        """Enabled, with its subjects, and shown to work: once for each time this copy takes it up.  Raises as `hold`.

        Its id has to be known by then: a transmitter may push the verification before it answers that it will.
        """
        if stream.stream_id in self._verified:
            return
        meta = await self._remote.metadata(wanted.iss)
        if meta.status is not None and await self._remote.status(wanted, meta, stream.stream_id) != "enabled":
            await self._remote.set_status(wanted, meta, stream.stream_id, "enabled")
        if meta.starts_with_none or wanted.subjects:
            for subject in wanted.subjects:
                await self._remote.add_subject(wanted, meta, stream.stream_id, subject)
        if meta.verification is None or await self._verification_asked(wanted, meta, stream):
            self._verified.add(stream.stream_id)
        logger.info(log.SUBSCRIPTION_HELD, subscription=wanted.name, delivered=len(stream.events_delivered))

    async def drop(self, held: Subscription) -> None:
        """Delete our streams; the subscription is gone.  Raises as `hold`."""
        meta = await self._remote.metadata(held.iss)
        for stream in await self._remote.streams(held, meta):
            if self._is_ours(held, stream):
                await self._remote.delete(held, meta, stream.stream_id)

    async def pause(self, held: Subscription) -> None:
        """Nothing more for now; the transmitter holds it back.  Raises as `hold`."""
        meta = await self._remote.metadata(held.iss)
        for stream in await self._remote.streams(held, meta):
            if self._is_ours(held, stream):
                await self._remote.set_status(held, meta, stream.stream_id, "paused")
                self._verified.discard(stream.stream_id)

    async def _found_or_made(self, wanted: Subscription, meta: Metadata) -> RemoteStream:
        ours = await self._ours(wanted, meta)
        if not ours:
            try:
                await self._remote.create(wanted, meta, self._request(wanted))
            except RemoteFailed as failed:
                if failed.status != CONFLICT:
                    raise
            ours = await self._ours(wanted, meta) or list(await self._remote.streams(wanted, meta))[:1]
        if not ours:
            raise RemoteFailed("the transmitter made no stream")
        for extra in ours[1:]:
            await self._remote.delete(wanted, meta, extra.stream_id)
        return ours[0]

    async def _ours(self, wanted: Subscription, meta: Metadata) -> list[RemoteStream]:
        found = [stream for stream in await self._remote.streams(wanted, meta) if self._is_ours(wanted, stream)]
        return sorted(found, key=lambda stream: stream.stream_id)

    def _is_ours(self, wanted: Subscription, stream: RemoteStream) -> bool:
        if wanted.delivery == "push":
            return stream.method == PUSH and stream.endpoint_url == self._endpoint(wanted)
        return stream.method == POLL and stream.description == self._description(wanted)

    def _request(self, wanted: Subscription) -> dict[str, Any]:
        delivery: dict[str, Any] = {"method": POLL}
        if wanted.delivery == "push":
            secret = self._secrets.push_authorization(wanted.name)
            delivery = {"method": PUSH, "endpoint_url": self._endpoint(wanted), "authorization_header": secret}
        return {"delivery": delivery, "events_requested": list(wanted.events), "description": self._description(wanted)}

    def _endpoint(self, wanted: Subscription) -> str:
        return f"{self._receive}/{wanted.name}"

    def _description(self, wanted: Subscription) -> str:
        return f"weft {self._domain} {wanted.name}"

    def _check(self, wanted: Subscription, stream: RemoteStream) -> None:
        """SSF 1.0 section 8.1.1: `iss` is checked on every read."""
        sender = self._transmitter_of(wanted.iss)
        if stream.iss != wanted.iss:
            raise RemoteFailed("the stream is of another issuer")
        if sender is None or sender.aud not in stream.aud:
            raise RemoteFailed("the stream is for another audience than the transmitter's fact says")
        if (stream.method == PUSH) != (wanted.delivery == "push"):
            raise RemoteFailed("the stream is delivered another way")

    async def _updated(self, wanted: Subscription, meta: Metadata, stream: RemoteStream) -> RemoteStream:
        """A transmitter that cannot change a stream (CAEP Interop asks for none) gets a new one."""
        try:
            await self._remote.update(wanted, meta, stream.stream_id, {"events_requested": list(wanted.events)})
        except RemoteFailed as failed:
            if failed.status not in NO_METHOD:
                raise
            await self._remote.delete(wanted, meta, stream.stream_id)
        return await self._found_or_made(wanted, meta)

    async def _verification_asked(self, wanted: Subscription, meta: Metadata, stream: RemoteStream) -> bool:
        """SSF 1.0 section 8.1.4.2: 429 where it was asked less than `min_verification_interval` ago, as by another copy; again later."""
        try:
            await self._remote.verify(wanted, meta, stream.stream_id, self._secrets.state(stream.stream_id, self._clock.now()))
        except RemoteFailed as failed:
            if failed.status != TOO_OFTEN:
                raise
            return False
        return True
