"""Evidence: what a step's own guard reported, read from RECORD at the sequences that the agent names (design 5).

The agent's word is worth the numbers alone.  Each must be a report that RECORD holds as a point's, for this transaction, of an accepted
use with a positive outcome, by the workload that serves the tool.  That it is about the same object, the next tool's guard sees.
"""

from __future__ import annotations

import asyncio

from schemas.reasons import DenyReason
from schemas.record import USED, Used
from schemas.token import Evidence
from streams.bus import Malformed, parse
from streams.facts_table import FactsTable
from streams.subjects import RECORD, parse_connection_name
from workers.broker.ports import History, HistoryUnavailable, RecordedEvent
from workers.common.requests import RequestRefused

REPORTS = RECORD.at("point", "used") + "."  # only the worker that heard the point publishes here
PENDING_S = 0.2  # for a replica that lags behind the one which acknowledged the report
_PAUSE_S = 0.04


async def read_evidence(wanted: tuple[int, ...], txn: str | None, history: History, facts: FactsTable) -> tuple[Evidence, ...]:
    """What the named events prove.  Raises RequestRefused: evidence_invalid, or evidence_pending for what is not there yet."""
    if wanted and txn is None:
        raise RequestRefused(DenyReason.EVIDENCE_INVALID, "evidence without the transaction it belongs to")
    return tuple([_proves(seq, await _read(seq, history), txn, facts) for seq in wanted])


async def _read(seq: int, history: History) -> RecordedEvent:
    """A replica has no event that tells when it caught up, so it is asked a few times."""
    try:
        for _ in range(int(PENDING_S / _PAUSE_S)):
            recorded = await history.at(seq)
            if recorded is not None:
                return recorded
            await asyncio.sleep(_PAUSE_S)
    except HistoryUnavailable:
        pass
    raise RequestRefused(DenyReason.EVIDENCE_PENDING, "not in RECORD yet")


def _proves(seq: int, recorded: RecordedEvent, txn: str | None, facts: FactsTable) -> Evidence:
    used = _report(recorded)
    if used.txn != txn:
        raise RequestRefused(DenyReason.EVIDENCE_INVALID, "of another transaction")
    if not used.accepted or used.outcome != "positive" or used.object is None:
        raise RequestRefused(DenyReason.EVIDENCE_INVALID, "not an accepted use with a positive outcome")
    tool = facts.tool(used.tool)
    if tool is None or tool.workload != _workload(used.point):
        raise RequestRefused(DenyReason.EVIDENCE_INVALID, "not reported by the workload that serves the tool")
    return Evidence(tool=used.tool, seq=seq, object=used.object, at=used.at)


def _report(recorded: RecordedEvent) -> Used:
    try:
        event = parse(Used, recorded.body)
    except Malformed:
        raise RequestRefused(DenyReason.EVIDENCE_INVALID, "not a report of a use") from None
    if event.type != USED or not recorded.subject.startswith(REPORTS):
        raise RequestRefused(DenyReason.EVIDENCE_INVALID, "not a report of a use")
    return event.data


def _workload(point: str) -> str | None:
    try:
        return str(parse_connection_name(point)[1])
    except ValueError:
        return None
