"""REVOCATIONS in memory, for several writers at once: an honest stream, a signer, and what a test wants to go wrong.

It judges the expected sequence before the message id, as nats-server 2.15.1 does (measured), and what it stores it never forgets, unless
a test restores it from a backup.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from nacl.signing import SigningKey
from weft.digest import b64u, canonical, target_digest

from schemas.base import Wire
from schemas.revocation import BEACON_TYP, ENTRY_TYP, Beacon, Entry, Target
from workers.revocation import ledger
from workers.revocation.causes import Cause, Committed
from workers.revocation.completion import Tracker
from workers.revocation.ledger import BrokenLedger, Stored
from workers.revocation.ports import Fenced, Uncertain
from workers.revocation.signing import verify_own
from workers.revocation.writer import Waiting, Writer

KEY = SigningKey(b"k" * 32)
KEYS = {"k1": bytes(KEY.verify_key)}


class Signer:
    def sign(self, payload: Wire, typ: str) -> str:
        text = f"{b64u(canonical({'alg': 'EdDSA', 'typ': typ, 'kid': 'k1'}))}.{b64u(payload.wire())}"
        return f"{text}.{b64u(KEY.sign(text.encode()).signature)}"


@dataclass
class Stream:
    """REVOCATIONS, in memory.  `fault` is what happens to the next publish: its request or its answer is lost."""

    log: list[tuple[str, str, str]] = field(default_factory=list)  # typ, JWS, message id
    fault: str = "none"

    async def read(self) -> Stored:
        entries = [(verify_own(jws, typ, Entry, KEYS), jws) for typ, jws, _ in self.log if typ == ENTRY_TYP]
        beacons = [verify_own(jws, typ, Beacon, KEYS) for typ, jws, _ in self.log if typ == BEACON_TYP]
        return Stored(
            last_seq=len(self.log),
            first_entry=entries[0][0] if entries else None,
            last_entry=entries[-1][0] if entries else None,
            last_entry_jws=entries[-1][1] if entries else None,
            last_beacon=beacons[-1] if beacons else None,
        )

    async def first_entry(self) -> int | None:
        return next((1 for typ, _, _ in self.log if typ == ENTRY_TYP), None)

    async def entry_at(self, seq: int) -> tuple[Entry, str]:
        typ, jws, _ = self.log[seq - 1]
        if typ != ENTRY_TYP:
            raise BrokenLedger("no entry there")
        return verify_own(jws, typ, Entry, KEYS), jws

    async def put_entry(self, jws: str, *, n: int, msg_id: str, after: int) -> tuple[int, bool]:
        return self._put(ENTRY_TYP, jws, msg_id, after)

    async def put_beacon(self, jws: str, *, msg_id: str, after: int) -> int:
        return self._put(BEACON_TYP, jws, msg_id, after)[0]

    def _put(self, typ: str, jws: str, msg_id: str, after: int) -> tuple[int, bool]:
        fault, self.fault = self.fault, "none"
        if fault == "request":
            raise Uncertain
        if after != len(self.log):
            raise Fenced
        known = [seq for seq, (_, _, stored_id) in enumerate(self.log, 1) if stored_id == msg_id]
        if not known:
            self.log.append((typ, jws, msg_id))
        if fault == "answer":
            raise Uncertain
        return (known[0], True) if known else (len(self.log), False)


@dataclass
class Wall:
    """The machine's clock, as a test sets it."""

    at: float = 1_800_000_000.0

    def now(self) -> float:
        return self.at


def cause(number: int) -> Cause:
    """A cause of its own: the token of that number."""
    target = Target(kind="token", digest=target_digest("token", str(number)))
    return Cause(key=f"posture:{number}", targets=(target,), names=(f"token:{number}",), reason="r", by="b", posture=number + 1)


async def head_of_facts() -> int:
    return 0


class Copies:
    """Three copies of the worker; each writes for as long as it believes that it may."""

    def __init__(self) -> None:
        self.stream = Stream()
        self.wall = Wall()
        self.writers: dict[int, Writer | None] = dict.fromkeys(range(3))
        self.told: dict[int, list[Committed]] = {}

    async def take_over(self, copy: int) -> None:
        tracker = Tracker(lambda _: 3.0)
        head = ledger.recover(await self.stream.read())
        writer = Writer(head, stream=self.stream, signer=Signer(), tracker=tracker, clock=self.wall, facts_head=head_of_facts)
        try:
            await writer.take_over()
            self.writers[copy] = writer
        except (Fenced, Uncertain):
            self.writers[copy] = None

    async def beacon(self, copy: int) -> None:
        await self._write(copy, None)

    async def commit(self, copy: int, number: int) -> None:
        await self._write(copy, number)

    def kill(self, copy: int) -> None:
        """It ends, whatever it had in its hands."""
        self.writers[copy] = None

    async def _write(self, copy: int, number: int | None) -> None:
        writer = self.writers[copy]
        if writer is None:
            return
        try:
            if number is None:
                await writer.take_over()  # which is a beacon
            else:
                waiting = Waiting(cause(number), asyncio.get_running_loop().create_future())
                writer._pending.append(waiting)
                await writer._entry()
                self.told.setdefault(number, []).append(waiting.done.result())
        except (Fenced, Uncertain):
            writer._end()
            self.writers[copy] = None
