"""Answers `weft.query.audit.<operator>`: who asks, what he may see, and the rows.

An auditor sees what lies below a namespace of his; facts of a kind that has no namespace, and events that are nobody's in particular,
belong to the trust domain.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import orjson
from nats.aio.client import Client
from weft.revocation import RevocationView

from config.settings import Settings
from schemas import record
from schemas.commands import ANSWER, Answer, Query
from schemas.envelope import CloudEvent
from schemas.facts import Kind, Person
from schemas.reasons import DenyReason
from streams.bus import Caller, event
from streams.facts_table import FactsTable
from workers.audit import facts as facts_questions
from workers.audit.explain import explain, row
from workers.audit.follower import Follower
from workers.audit.index import Index, Indexed
from workers.audit.reach import Reach
from workers.audit.redaction import redacted
from workers.audit.room import Room
from workers.audit.verification import Verification
from workers.common.clock import Clock
from workers.common.roles import holds, scopes_of
from workers.common.rpc import Refused

SOURCE = "/weft/audit"
PAGE_BYTES = 200_000  # of rows in one answer; the server's max_payload is 256 KiB
BEHIND = "the index is behind RECORD; ask again"


def page_of(rows: Iterable[dict[str, Any]]) -> tuple[tuple[dict[str, Any], ...], bool]:
    """As many as one answer holds, at least one; whether that is fewer than there are."""
    page: list[dict[str, Any]] = []
    left = PAGE_BYTES
    for found in rows:
        left -= len(orjson.dumps(found))
        if left < 0 and page:
            return tuple(page), True
        page.append(found)
    return tuple(page), False


class Answers:
    """One method per question."""

    def __init__(
        self,
        nc: Client,
        *,
        index: Index,
        follower: Follower,
        facts: FactsTable,
        revocations: RevocationView,
        settings: Settings,
        clock: Clock,
        room: Room,
    ) -> None:
        self._room = room
        self._nc, self._index, self._follower, self._facts = nc, index, follower, facts
        self._revocations, self._settings, self._clock = revocations, settings, clock
        self._reach = Reach(nc, index, revocations.hit)
        self._verification = Verification(nc, index, lambda: self._facts.revision)
        self._questions: dict[str, Callable[[Query, Person], Awaitable[Answer]]] = {
            "get": self._get,
            "list": self._list,
            "history": self._history,
            "can": self._can,
            "explain": self._explain,
            "replay": self._replay,
            "verify": self._verify,
            "points": self._points,
            "status": self._status,
            "reach": self._reached,
            "find": self._found,
            "tainted": self._tainted,
        }

    async def answer(self, caller: Caller, asked: CloudEvent[Query]) -> bytes:
        """The answer as an event.  Raises Refused."""
        person = self._facts.person(caller.name)
        if person is None or person.state != "active":
            raise Refused(DenyReason.NOT_AUTHORIZED, "no active person has this key")
        if not any(grant.role == "auditor" for grant in person.roles):
            raise Refused(DenyReason.NOT_AUTHORIZED, "the role auditor is missing")
        return event(ANSWER, await self._questions[asked.data.what](asked.data, person), source=SOURCE)

    # --- facts ----------------------------------------------------------------------------------------------------------------

    async def _get(self, asked: Query, person: Person) -> Answer:
        if asked.kind is None or asked.key is None:
            raise Refused(DenyReason.MALFORMED, "get needs kind and key")
        found = self._facts.get(asked.kind, asked.key)
        rows = () if found is None or not self._may_see(person, found[1]) else (facts_questions.shown(*found),)
        return Answer(rows=rows, revision=self._facts.revision)

    async def _list(self, asked: Query, person: Person) -> Answer:
        if asked.kind is None:
            raise Refused(DenyReason.MALFORMED, "list needs a kind")
        entries = sorted((entry for entry in self._facts.list(asked.kind) if entry.seq > asked.after), key=lambda entry: entry.seq)
        seen = [facts_questions.shown(entry.seq, entry.fact) for entry in entries if self._may_see(person, entry.fact)]
        rows, cut = page_of(seen[: asked.limit])
        return Answer(rows=rows, next=rows[-1]["revision"] if cut or len(seen) > asked.limit else None)

    async def _history(self, asked: Query, person: Person) -> Answer:
        if asked.kind is None or asked.key is None:
            raise Refused(DenyReason.MALFORMED, "history needs kind and key")
        found = self._facts.get(asked.kind, asked.key)
        if not (found is not None and self._may_see(person, found[1])) and not self._sees(person)(self._trust_domain):
            return Answer(rows=())
        revisions, more = await facts_questions.history(self._nc, asked.kind, asked.key, asked.after, asked.limit)
        rows, cut = page_of(revisions)
        return Answer(rows=rows, next=rows[-1]["revision"] if cut else more, revision=self._facts.revision)

    async def _can(self, asked: Query, person: Person) -> Answer:
        if asked.agent is not None and not self._sees(person)(asked.agent):
            raise Refused(DenyReason.NOT_AUTHORIZED, "not an auditor above this agent")
        now, mode, environment = int(self._clock.now()), self._settings.mode, self._settings.environment
        try:
            decision = facts_questions.what_if(
                asked, self._facts, now=now, revocations=self._revocations.counter, environment=environment, mode=mode
            )
        except ValueError as error:
            raise Refused(DenyReason.MALFORMED, str(error)) from None
        return Answer(rows=(decision,), revision=self._facts.revision)

    # --- the record -----------------------------------------------------------------------------------------------------------

    async def _explain(self, asked: Query, person: Person) -> Answer:
        if not asked.id:
            raise Refused(DenyReason.MALFORMED, "explain needs an id")
        await self._current()
        events, shown = await explain(self._index, asked.id, self._sees(person), asked.after, asked.limit), self._shown(person)
        rows, cut = page_of(row(event, shown(event)) for event in events)
        return Answer(rows=rows, next=rows[-1]["seq"] if cut or len(events) == asked.limit else None)

    async def _replay(self, asked: Query, person: Person) -> Answer:
        await self._current()
        events = await self._index.page(asked.after, asked.limit, asked.types)
        if not events and asked.wait_s:
            await self._follower.reached(max(self._follower.sequence, asked.after) + 1, asked.wait_s)
            events = await self._index.page(asked.after, asked.limit, asked.types)
        visible, shown = self._sees(person), self._shown(person)
        rows: list[dict[str, Any]] = []
        last, left = None, PAGE_BYTES
        for e in events:
            row = {"seq": e.seq, "subject": e.subject, "event": shown(e)} if visible(e.scope) else None
            left -= len(orjson.dumps(row))
            if left < 0 and last is not None:
                break
            last = e.seq
            rows += [row] if row is not None else []
        return Answer(rows=tuple(rows), next=last)

    async def _verify(self, asked: Query, person: Person) -> Answer:
        if not self._sees(person)(self._trust_domain):
            raise Refused(DenyReason.NOT_AUTHORIZED, "verifying needs the role auditor over the trust domain")
        await self._current()
        return await self._verification.page(person.nkey, asked)

    async def _points(self, asked: Query, person: Person) -> Answer:
        """Enforcement points whose admission has not run out."""
        await self._current()
        visible, now = self._sees(person), self._clock.now()
        points: dict[str, dict[str, Any]] = {}
        after = asked.after
        while events := await self._index.page(after, 500, (record.ADMITTED,)):
            after = events[-1].seq
            for e in events:
                if e.data["kind"] == "point" and e.data["expires_at"] > now and visible(e.scope):
                    points[e.data["name"]] = {"name": e.data["name"], "id": e.data["id"], "expires_at": e.data["expires_at"]}
        return Answer(rows=tuple(points.values()))

    async def _status(self, _: Query, __: Person) -> Answer:
        counts = {kind.value: sum(1 for _ in self._facts.list(kind)) for kind in Kind}
        current = await self._follower.current()
        row = {
            "trust_domain": self._settings.trust_domain,
            "mode": self._settings.mode,
            "facts": self._facts.revision,
            "revocations": self._revocations.counter,
            "record": self._follower.sequence,
            "record_full": self._room.full,
            "current": current,
            "kinds": {kind: count for kind, count in counts.items() if count},
        }
        return Answer(rows=(row,), revision=self._facts.revision)

    async def _reached(self, asked: Query, person: Person) -> Answer:
        """Whom a revocation would hit; nothing is done."""
        await self._current()
        rows = await self._reach.would_hit(asked, self._sees(person), self._clock.now())
        if asked.after == 0:
            rows[0]["connected"] = await self._connected(asked, self._sees(person))
        return _tokens(asked, rows)

    async def _found(self, asked: Query, person: Person) -> Answer:
        """Tokens by whatever name of theirs somebody has."""
        await self._current()
        return _tokens(asked, await self._reach.named(asked, self._sees(person), self._clock.now()))

    async def _tainted(self, asked: Query, person: Person) -> Answer:
        """What rests on something that turned out to be bad."""
        await self._current()
        return _tokens(asked, await self._reach.tainted(asked, self._sees(person), self._clock.now()))

    async def _connected(self, asked: Query, visible: Callable[[str], bool]) -> int:
        """Admitted agents, as far as their admission has not run out, that the target names."""
        now, names = self._clock.now(), set()
        async for e in self._index.every(record.ADMITTED):
            if e.data["kind"] == "agent" and e.data["expires_at"] > now and visible(e.scope) and _names(asked, e.data):
                names.add(e.data["name"])
        return len(names)

    # --- what the asker may see ---------------------------------------------------------------------------------------------------

    @property
    def _trust_domain(self) -> str:
        return f"spiffe://{self._settings.trust_domain}"

    def _sees(self, person: Person) -> Callable[[str], bool]:
        return lambda scope: holds(person, "auditor", scope)

    def _shown(self, person: Person) -> Callable[[Indexed], dict[str, Any]]:
        """Persons by name, and others' part of an event, are for auditors of the trust domain."""
        visible = self._sees(person)
        return (lambda e: e.event) if visible(self._trust_domain) else (lambda e: redacted(e.event, visible))

    def _may_see(self, person: Person, fact: Any) -> bool:
        scopes = scopes_of(fact.body, self._facts, self._settings.trust_domain) if fact.body is not None else {self._trust_domain}
        return all(holds(person, "auditor", scope) for scope in scopes)

    async def _current(self) -> None:
        if not await self._follower.current():
            raise Refused(DenyReason.VIEW_BEHIND, BEHIND)


def _tokens(asked: Query, rows: list[dict[str, Any]]) -> Answer:
    """The summary with every page, then as many tokens after `after` as fit."""
    wanted = [row for row in rows[1:] if row["seq"] > asked.after]
    shown, cut = page_of(wanted[: asked.limit])
    more = cut or len(wanted) > len(shown)
    return Answer(rows=(rows[0], *shown), next=shown[-1]["seq"] if more and shown else None)


def _names(asked: Query, admitted: dict[str, Any]) -> bool:
    if asked.target == "instance":
        return bool(admitted.get("instance") == asked.value)
    if asked.target == "agent":
        return bool(admitted["id"] == asked.value)
    return asked.target == "namespace" and f"{admitted['id']}/".startswith(f"{asked.value}/")
