"""Writes the contracts beside this file: `python docs/contracts/export.py`.  `tests/docs/test_contracts.py` holds the files to the code.

One JSON Schema per module of `schemas/` (draft 2020-12), a package counting as one; the bus as AsyncAPI 3.0 with CloudEvents envelopes
(a core NATS request has its reply), and the edge's OpenAPI document.
"""

from __future__ import annotations

import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from pydantic.json_schema import models_json_schema

from schemas import (
    approvals,
    cimd,
    commands,
    drills,
    facts,
    fetching,
    health,
    invocation,
    keys,
    minting,
    oauth,
    points,
    record,
    revocation,
    sealed,
    snapshot,
    ssf,
    status,
    vault,
)
from schemas.base import Wire
from schemas.envelope import CONTENT_TYPE
from streams import subjects
from streams.subjects import Subject
from workers.edge.openapi import DOCUMENT

HERE = Path(__file__).parent
MODULES = (
    "accesstoken",
    "approvals",
    "cimd",
    "clients",
    "commands",
    "decision",
    "drills",
    "egress",
    "detections",
    "events.caep",
    "events.risc",
    "events.ssf",
    "exchange",
    "facts",
    "fetching",
    "health",
    "invocation",
    "keys",
    "minting",
    "oauth",
    "points",
    "receiving",
    "record",
    "responses",
    "revocation",
    "sealed",
    "signals",
    "snapshot",
    "ssf",
    "status",
    "subject_ids",
    "token",
    "vault",
)


class Said(NamedTuple):
    """An event type and the schema of its data."""

    type: str
    data: type[Wire]


class Channel(NamedTuple):
    """A family of subjects: what is sent there, what answers it, and which worker receives it."""

    subject: Subject
    receiver: str
    sent: tuple[Said, ...]
    answers: tuple[Said, ...] = ()


_FAILED = Said(commands.FAILED, points.Failure)
CHANNELS = (
    Channel(
        subjects.INVOKE,
        "gateway",
        (Said(invocation.REQUESTED, invocation.InvocationRequest),),
        (Said(invocation.GRANTED, invocation.Granted), Said(invocation.REFUSED, invocation.Refused)),
    ),
    Channel(subjects.TOOLS, "gateway", (Said(invocation.TOOLS_ASKED, Wire),), (Said(invocation.TOOLS_LISTED, invocation.ToolList),)),
    Channel(
        subjects.COMPLETE,
        "revocation",
        (Said(revocation.COMPLETE, revocation.Complete),),
        (Said(revocation.COMMITTED, revocation.Ordered), _FAILED),
    ),
    Channel(
        subjects.APPROVAL,
        "gateway",
        (Said(invocation.APPROVAL_ASKED, invocation.ApprovalAsked),),
        (Said(invocation.APPROVAL_TOLD, invocation.ApprovalState), Said(invocation.REFUSED, invocation.Refused)),
    ),
    Channel(subjects.ATTACH, "registry", (Said(points.ATTACH, points.Attach),), (Said(points.ATTACH_ANSWERED, points.Attached), _FAILED)),
    Channel(subjects.CLAIM, "revocation", (Said(points.CLAIM, points.Claim),), (Said(points.CLAIM_ANSWERED, points.Claimed), _FAILED)),
    Channel(subjects.USE, "revocation", (Said(points.USE, points.Use),), (Said(points.RECORDED, points.UseRecorded), _FAILED)),
    Channel(subjects.ACK, "revocation", (Said(points.ACK, revocation.Ack),)),
    Channel(subjects.NOTICE, "signals", (Said(points.SIGNAL, points.PointSignal),), (Said(points.RECORDED, points.UseRecorded), _FAILED)),
    Channel(subjects.APPLY, "registry", (Said(commands.APPLY, commands.Apply),), (Said(commands.APPLIED, commands.Applied), _FAILED)),
    Channel(subjects.REVOKE, "signals", (Said(commands.REVOKE, commands.Revoke),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.SWEEP, "signals", (Said(commands.SWEEP, commands.Sweep),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.LIFT, "signals", (Said(commands.LIFT, commands.Lift),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.RESOLVE, "signals", (Said(commands.RESOLVE, commands.Resolve),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.RESPONSES, "signals", (Said(commands.WAITING, commands.Waiting),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.APPROVE, "registry", (Said(commands.APPROVE, commands.Approve),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.APPROVALS, "registry", (Said(commands.WAITING, commands.Waiting),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.CIMD, "registry", (Said(cimd.RESOLVE, cimd.Resolve),), (Said(cimd.RESOLVED, cimd.Resolved), _FAILED)),
    Channel(
        subjects.CIMD_TOOL, "registry", (Said(cimd.RESOLVE_TOOL, cimd.ResolveTool),), (Said(cimd.RESOLVED_TOOL, cimd.ResolvedTool), _FAILED)
    ),
    Channel(subjects.QUERY, "audit", (Said(commands.QUERY, commands.Query),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(
        subjects.SET, "signals", (Said(points.SET_DELIVERED, points.SetDelivery),), (Said(points.SET_ANSWERED, points.SetAnswer), _FAILED)
    ),
    Channel(subjects.STREAMS, "signals", (Said(ssf.STREAMS, ssf.StreamsCommand),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.EDGE_SSF, "signals", (Said(ssf.ASKED, ssf.Asked),), (Said(ssf.ANSWERED, ssf.Answered), _FAILED)),
    Channel(subjects.OUTGOING, "signals", (Said(ssf.QUEUED, ssf.Queued),)),
    Channel(subjects.DEAD, "signals, when somebody sends it again", (Said(ssf.DEAD, ssf.Dead),)),
    Channel(
        subjects.EDGE_STATUS,
        "revocation",
        (Said(status.LIST_ASKED, status.ListAsked),),
        (Said(status.LIST_ANSWERED, status.ListAnswered), _FAILED),
    ),
    Channel(subjects.STATUS, "revocation", (Said(status.WANTED, status.Allocated),), (Said(status.GIVEN, status.Given), _FAILED)),
    Channel(
        subjects.CANARY,
        "broker",
        (Said(drills.CANARY_WANTED, drills.CanaryWanted),),
        (Said(drills.CANARY_MINTED, drills.CanaryMinted), _FAILED),
    ),
    Channel(subjects.PUSH_DRILL, "every guard of the tool", (Said(drills.SHOWN, drills.Shown),)),
    Channel(
        subjects.SNAPSHOT,
        "every copy of revocation; the one that holds it answers",
        (Said(snapshot.ASKED, snapshot.SnapshotAsked),),
        (Said(snapshot.ANSWERED, snapshot.SnapshotAnswered), _FAILED),
    ),
    Channel(subjects.VERDICT, "revocation", (Said(drills.VERDICT, drills.Verdict),)),
    Channel(subjects.DRILL, "revocation", (Said(drills.RUN, drills.Run),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.EDGE_KEYS, "registry", (Said(keys.ASKED, keys.KeysAsked),), (Said(keys.ANSWERED, keys.JWKSet), _FAILED)),
    Channel(subjects.FETCH, "edge", (Said(fetching.FETCH, fetching.Fetch),), (Said(fetching.FETCHED, fetching.Fetched), _FAILED)),
    Channel(subjects.OAUTH, "broker", (Said(oauth.ASKED, oauth.Asked),), (Said(oauth.ANSWERED, oauth.Answered),)),
    Channel(subjects.HEALTH, "every worker", (Said(health.ASKED, health.Asked),), (Said(health.ANSWERED, health.Health),)),
    Channel(subjects.MINT, "broker", (Said(minting.MINT, minting.MintRequests),), (Said(minting.MINTED, minting.MintAnswers),)),
    Channel(
        subjects.SEALED,
        "the other brokers",
        (Said(sealed.ASKED, sealed.SealedAsked),),
        (Said(sealed.ANSWERED, sealed.SealedAnswer),),
    ),
    Channel(subjects.KEYS, "broker", (Said(vault.PREPARE_KEY, vault.PrepareKey),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.VAULT, "broker", (Said(vault.VAULT, vault.VaultCommand),), (Said(commands.ANSWER, commands.Answer), _FAILED)),
    Channel(subjects.RELEASE, "broker", (Said(vault.RELEASE, vault.Release),), (Said(vault.RELEASED, vault.Released), _FAILED)),
    Channel(subjects.EGRESS_HEALTH, "egress", (Said(health.ASKED, health.Asked),), (Said(health.ANSWERED, health.Health),)),
    Channel(
        subjects.ORDER,
        "revocation",
        (Said(revocation.ORDER, revocation.Order),),
        (Said(revocation.COMMITTED, revocation.Ordered), _FAILED),
    ),
    Channel(subjects.APPROVAL_ASK, "registry", (Said(approvals.ASK, approvals.Ask),), (Said(approvals.HELD, approvals.Held), _FAILED)),
    Channel(subjects.APPROVAL_SHOW, "registry", (Said(approvals.SHOW, approvals.Show),), (Said(approvals.HELD, approvals.Held), _FAILED)),
    Channel(
        subjects.APPROVAL_SPEND, "registry", (Said(approvals.SPEND, approvals.Spend),), (Said(approvals.HELD, approvals.Held), _FAILED)
    ),
    Channel(subjects.CUT, "admission", (Said(commands.CUT_ORDERED, commands.CutOrder),)),
    Channel(subjects.FACT, "every view, republished on weft.push.fact.>", (Said(facts.FACT, facts.Fact),)),
    Channel(subjects.SIGNAL, "signals", (Said(points.SET_DELIVERED, points.SetDelivery),)),
    Channel(
        subjects.REVOCATION,
        "every enforcement point, republished on weft.push.revocation.>",
        (Said(revocation.ENTRY, revocation.Signed), Said(revocation.BEACON, revocation.Signed)),
    ),
    Channel(
        subjects.RECORD, "audit, republished on weft.push.record.>", tuple(Said(type_, model) for type_, model in record.BY_TYPE.items())
    ),
)


def json_schemas() -> dict[str, dict[str, Any]]:
    """File name to JSON Schema, one per module, every wire object of it under `$defs`."""
    files = {}
    for name in MODULES:
        module = import_module(f"schemas.{name}")
        models = [model for _, model in sorted(inspect.getmembers(module, inspect.isclass)) if _is_own(model, module.__name__)]
        _, definitions = models_json_schema([(model, "validation") for model in models], title=(module.__doc__ or "").partition("\n")[0])
        files[f"{name}.schema.json"] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **definitions}
    return files


def _file(model: type[Wire]) -> str:
    """Where its schema stands: the file of its module, or of the package that its module is a part of."""
    return next(f"{name}.schema.json" for name in MODULES if _is_own(model, f"schemas.{name}"))


def _is_own(model: type, module: str) -> bool:
    return issubclass(model, Wire) and f"{model.__module__}.".startswith(f"{module}.")


def asyncapi() -> dict[str, Any]:
    """AsyncAPI 3.0.0; payloads are the JSON Schemas beside it, in their envelope."""
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for channel in CHANNELS:
        name = channel.subject.prefix.replace(".", "_")
        channels[name] = _channel(channel.subject, channel.sent)
        operation = {"action": "receive", "channel": {"$ref": f"#/channels/{name}"}, "summary": f"Received by {channel.receiver}."}
        if channel.answers:
            channels[f"{name}_reply"] = {"address": None, "messages": _messages(channel.answers)}
            operation["reply"] = {"channel": {"$ref": f"#/channels/{name}_reply"}}
        operations[f"on_{name}"] = operation
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Weft", "version": "0.1.0", "description": "Everything on the bus. docs/contracts/README.md says it in prose."},
        "defaultContentType": CONTENT_TYPE,
        "channels": channels,
        "operations": operations,
    }


def _channel(subject: Subject, sent: tuple[Said, ...]) -> dict[str, Any]:
    made: dict[str, Any] = {"address": subject.prefix, "messages": _messages(sent)}
    if subject.open:
        made["address"] = f"{subject.prefix}.{{rest}}"
        made["parameters"] = {"rest": {"description": "the connection's attested name, or what streams/subjects.py says"}}
    return made


def _messages(said: tuple[Said, ...]) -> dict[str, Any]:
    return {one.type.replace(".", "_"): {"name": one.type, "contentType": CONTENT_TYPE, "payload": _payload(one)} for one in said}


def _payload(said: Said) -> dict[str, Any]:
    data = {"type": "object"} if said.data is Wire else {"$ref": f"./{_file(said.data)}#/$defs/{said.data.__name__}"}
    return {
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {"specversion": {"const": "1.0"}, "type": {"const": said.type}, "data": data},
    }


def contracts() -> dict[str, dict[str, Any]]:
    """File name to content."""
    return {**json_schemas(), "asyncapi.json": asyncapi(), "edge.openapi.json": DOCUMENT}


def text(content: dict[str, Any]) -> str:
    """As it stands in the file."""
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for file, content in contracts().items():
        (HERE / file).write_text(text(content))
