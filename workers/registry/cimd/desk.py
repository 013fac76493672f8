"""The commands of `weft cimd`: a registrar has the document of a client or tool of his fetched.  The edge fetches for nobody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from schemas.base import Wire
from schemas.cimd import RESOLVED, RESOLVED_TOOL, Resolve, ResolveTool
from schemas.commands import FAILED
from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.record import DOCUMENT, MetadataDocument
from streams.bus import event
from streams.facts_table import FactsTable
from streams.subjects import RECORD
from workers.common.fetching import FetchUnavailable
from workers.common.recorder import Recorder
from workers.common.roles import holds
from workers.registry.cimd.document import DocumentRefused
from workers.registry.cimd.resolver import Found, Resolver
from workers.registry.recording import SOURCE


class Desk:
    """Answers people; what changed by itself it puts on RECORD."""

    def __init__(self, table: FactsTable, resolver: Resolver, recorder: Recorder, trust_domain: str) -> None:
        self._table = table
        self._resolver = resolver
        self._recorder = recorder
        self._scope = f"spiffe://{trust_domain}"

    async def resolve(self, person: str, asked: Resolve) -> bytes:
        """`RESOLVED`, or the refusal.  Nothing is written: a proposal becomes a fact by `apply`."""
        return await self._answer(person, self._scope, RESOLVED, lambda: self._resolver.resolve(asked.client_id))

    async def resolve_tool(self, person: str, asked: ResolveTool) -> bytes:
        """`RESOLVED_TOOL`, or the refusal."""
        tool = self._table.tool(asked.tool)
        if tool is None:
            return _failed(DenyReason.NOT_FOUND, f"no tool {asked.tool}")
        return await self._answer(person, tool.workload, RESOLVED_TOOL, lambda: self._resolver.resolve_tool(tool))

    async def _answer(self, person: str, scope: str, type_: str, resolve: Callable[[], Awaitable[Wire]]) -> bytes:
        if not holds(self._table.person(person), "registrar", scope):
            return _failed(DenyReason.NOT_AUTHORIZED, f"you are not registrar of {scope}")
        try:
            return event(type_, await resolve(), source=SOURCE)
        except DocumentRefused as refused:
            return _failed(DenyReason.INVALID_CHANGE, str(refused))
        except FetchUnavailable:
            return _failed(DenyReason.DEADLINE_EXCEEDED, "no edge answered: try again")

    async def changed(self, about: str, found: Found) -> None:
        """A registered document is another now: on RECORD, once for each.  Raises RecordUnavailable."""
        said = MetadataDocument(about=about, document=found.document, accepted=found.accepted)
        msg_id = f"registry:document:{found.document}"
        subject = RECORD.at("registry", "document", found.document)
        await self._recorder.record(subject, event(DOCUMENT, said, source=SOURCE, id=msg_id), msg_id)


def _failed(reason: DenyReason, detail: str) -> bytes:
    return event(FAILED, Failure(reason=reason, detail=detail), source=SOURCE)
