"""The command `cimd`: a registrar of the trust domain has a client's document fetched.  The edge fetches for nobody else."""

from __future__ import annotations

from schemas.cimd import RESOLVED, Resolve, Resolved
from schemas.commands import FAILED
from schemas.points import Failure
from schemas.reasons import DenyReason
from schemas.record import DOCUMENT, ClientDocument
from streams.bus import event
from streams.facts_table import FactsTable
from streams.subjects import RECORD
from workers.common.fetching import FetchUnavailable
from workers.common.recorder import Recorder
from workers.common.roles import holds
from workers.registry.cimd.document import DocumentRefused
from workers.registry.cimd.resolver import Resolver
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
        outcome = await self._resolved(person, asked)
        return event(FAILED if isinstance(outcome, Failure) else RESOLVED, outcome, source=SOURCE)

    async def _resolved(self, person: str, asked: Resolve) -> Resolved | Failure:
        if not holds(self._table.person(person), "registrar", self._scope):
            return Failure(reason=DenyReason.NOT_AUTHORIZED, detail=f"you are not registrar of {self._scope}")
        try:
            return await self._resolver.resolve(asked.client_id)
        except DocumentRefused as refused:
            return Failure(reason=DenyReason.INVALID_CHANGE, detail=str(refused))
        except FetchUnavailable:
            return Failure(reason=DenyReason.DEADLINE_EXCEEDED, detail="no edge answered: try again")

    async def changed(self, found: Resolved) -> None:
        """A registered client's document is another now: on RECORD, once for each.  Raises RecordUnavailable."""
        said = ClientDocument(client_id=found.client_id, document=found.document, accepted=found.accepted)
        msg_id = f"registry:document:{found.document}"
        await self._recorder.record(
            RECORD.at("registry", "document", found.document), event(DOCUMENT, said, source=SOURCE, id=msg_id), msg_id
        )
