"""The credential of one call, from the broker, for as long as the call takes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, SealedBox
from nats.aio.client import Client
from weft.digest import b64u, unb64u

from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.vault import RELEASE, RELEASED, Release, Released
from streams.bus import event
from streams.subjects import RELEASE as SUBJECT
from workers.common.asking import Unanswered, ask

SOURCE = "/weft/egress"
DEADLINE_S = 3.0


class NotReleased(Exception):
    """The broker refused, or nobody answered in time."""

    def __init__(self, reason: DenyReason) -> None:
        super().__init__(str(reason))
        self.reason = reason


class Secret:
    """A value that is overwritten when its call is over.  Its `repr` shows nothing."""

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: bytes) -> None:
        self.value = bytearray(value)

    @property
    def text(self) -> str:
        """As a header takes it."""
        return self.value.decode("ascii")

    def wipe(self) -> None:
        """Overwrite it.  Copies that Python made on the way (strings, an HTTP library's buffers) are freed, not overwritten."""
        self.value[:] = bytes(len(self.value))

    def __repr__(self) -> str:
        return "Secret()"


class Releases:
    """Asks with the call's own token; the answer is sealed to a key that is made for it and forgotten with it."""

    def __init__(self, nc: Callable[[], Client], name: str) -> None:
        self._nc = nc
        self._name = name

    @asynccontextmanager
    async def released(self, token: str, tool: str) -> AsyncIterator[Secret]:
        """For the length of a block.  Raises NotReleased."""
        secret = Secret(await self._ask(token, tool))
        try:
            yield secret
        finally:
            secret.wipe()

    async def _ask(self, token: str, tool: str) -> bytes:
        private = PrivateKey.generate()
        asked = Release(token=token, tool=tool, box_key=b64u(bytes(private.public_key)))
        try:
            question = event(RELEASE, asked, source=SOURCE)
            answer = await ask(self._nc(), SUBJECT.at(self._name), question, RELEASED, Released, deadline_s=DEADLINE_S)
        except Unanswered:
            raise NotReleased(DenyReason.BROKER_UNAVAILABLE) from None
        if isinstance(answer, Failure):
            raise NotReleased(answer.reason)
        try:
            return SealedBox(private).decrypt(unb64u(answer.boxed))
        except (CryptoError, ValueError):
            raise NotReleased(DenyReason.MALFORMED) from None
