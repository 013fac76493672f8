"""The text of `weft explain`: one paragraph per event of the record, in its order, from the rows that audit answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from workers.cli.output import clean

Pair = tuple[str, str]


def explanation(rows: Sequence[dict[str, Any]]) -> str:
    """Who asked what, each gate's line, what was issued, the chain, evidence, uses, revocations."""
    return "\n\n".join(_paragraph(row) for row in rows)


def _paragraph(row: dict[str, Any]) -> str:
    data = row["event"]["data"]
    head = f"#{row['seq']}  {str(row.get('time', ''))[:23]}  {row['what'].upper()}"
    pairs = list(_BY_WHAT.get(row["what"], _plainly)(data))
    return "\n".join([head, *(f"  {name:11} {clean(value)}" for name, value in pairs if value)])


def _decided(data: dict[str, Any]) -> Iterator[Pair]:
    """An issuance or a refusal: both hold what was asked and every gate."""
    asked, decision = data.get("input") or {}, data.get("decision") or data.get("gateway") or {}
    yield from _asked(asked, data)
    yield "reason", str(data.get("reason") or "")
    yield "detail", str(data.get("detail") or "")
    for line in decision.get("lines", ()):
        yield "pass" if line["passed"] else "FAIL", f"{line['gate']:12} {line.get('note', '')}".rstrip()
    yield from _token(data.get("claims") or {}, data.get("kid"))
    if decision:
        yield (
            "decided at",
            f"facts revision {decision['facts_revision']}, policy {decision.get('policy_digest') or 'none'}, engine {decision['engine']}",
        )
    yield "explanation", str(data.get("explanation") or "")


def _asked(asked: dict[str, Any], data: dict[str, Any]) -> Iterator[Pair]:
    if not asked:
        yield "caller", str(data.get("caller") or "")
        return
    caller, user, parent = asked["caller"], asked.get("user"), asked.get("parent")
    yield (
        "agent",
        f"{caller['id']}  instance {caller['instance']} ({'attested' if caller['attested'] else 'by its key'}, {caller['assurance']})",
    )
    yield "for", f"{user['sub']} (by {user['iss']})" if user else ""
    yield "actor", _actor(((data.get("exchange") or {}).get("input") or {}).get("actor"))
    yield "asked", f"{asked['tool']}: {', '.join(asked['actions'])}, purpose {asked['purpose']}"
    yield "intent", str(data.get("intent") or "")
    yield "continues", f"{parent['how']} of {parent['jti']}" if parent else ""


def _token(claims: dict[str, Any], kid: object) -> Iterator[Pair]:
    if not claims:
        return
    call = claims["call"]
    once = ", once" if call.get("single_use") else ""
    bound = f", bound to {', '.join(call['bound'])}" if call.get("bound") else ""
    yield (
        "issued",
        f"{claims['jti']} for {call['tool']}: {', '.join(call['actions'])}{once}{bound}, {claims['exp'] - claims['iat']} s, key {kid}",
    )
    yield "transaction", claims["txn"]
    past = [f"{actor['sub']} (for {actor['tool']})" for actor in claims.get("act_chain", ())]
    yield "chain", " -> ".join([*_acting(claims)[:-1], *past, claims["act"]["sub"]])
    for found in claims.get("evidence", ()):
        yield "evidence", f"{found['tool']} at #{found['seq']}, object {found['object']}"


def _exchanged(data: dict[str, Any]) -> Iterator[Pair]:
    """A request at the token endpoint that named no tool."""
    asked, decision, claims = data.get("input") or {}, data.get("decision") or {}, data.get("claims") or {}
    subject = asked.get("subject") or {}
    yield "client", f"{data.get('caller', '')}  {asked.get('auth_method', '')}  {asked.get('workload', '')}".rstrip()
    yield "asked", " ".join(asked.get("scope", ())) + (f", for {', '.join(asked['resources'])}" if asked.get("resources") else "")
    yield "subject", f"{subject['sub']} ({subject['type']})" if subject else ""
    yield "actor", _actor(asked.get("actor"))
    yield "reason", str(data.get("reason") or "")
    yield "detail", str(data.get("detail") or "")
    for line in decision.get("lines", ()):
        yield "pass" if line["passed"] else "FAIL", f"{line['gate']:12} {line.get('note', '')}".rstrip()
    if claims:
        yield "issued", f"{claims['jti']} to {claims['sub']}: {claims['scope']}, {claims['exp'] - claims['iat']} s, key {data.get('kid')}"
        yield "transaction", claims["txn"]
        yield "for", f"access to {claims['aud']}" if asked.get("requested") == "access_token" else ""
        yield "chain", " -> ".join(link["wl"] for link in claims.get("req_chain", ()))
        yield "acts", " -> ".join(_acting(claims))
    if decision:
        yield "decided at", f"facts revision {decision['facts_revision']}, engine {decision['engine']}"
    yield "explanation", str(data.get("explanation") or "")


def _actor(actor: dict[str, Any] | None) -> str:
    """Whom the actor token names, and what it was."""
    return f"{actor.get('workload') or actor.get('client_id')} ({actor['type']})" if actor else ""


def _acting(claims: dict[str, Any]) -> list[str]:
    """Whoever acted and acts, the first first."""
    line, act = [], claims.get("act")
    while act:
        line.append(act["sub"])
        act = act.get("act")
    return line[::-1]


def _used(data: dict[str, Any]) -> Iterator[Pair]:
    yield "tool", f"{data['tool']} at {data['point']}"
    yield "by", f"{data['agent']}  instance {data['instance']}"
    yield "verdict", "accepted" if data["accepted"] else f"refused, {data.get('reason')}"
    yield "token", data["jti"]
    yield "outcome", f"{data.get('outcome', 'none')}{', object ' + data['object'] if data.get('object') else ''}"


def _revoked(data: dict[str, Any]) -> Iterator[Pair]:
    yield "entry", f"{data['n']} by {data['by']}, facts revision {data.get('posture_revision', '-')}"
    yield "hits", ", ".join(data["targets"])
    yield "cause", data["cause"]


def _completed(data: dict[str, Any]) -> Iterator[Pair]:
    states = [point["state"] for point in data["points"]]
    yield "entry", f"{data['n']}, {'contained' if data['contained'] else 'NOT CONTAINED'}"
    yield "points", ", ".join(f"{states.count(state)} {state}" for state in ("confirmed", "expired", "uncontained"))
    yield "last", f"{data['last_ms']:.1f} ms" if data.get("last_ms") is not None else ""


def _responded(data: dict[str, Any]) -> Iterator[Pair]:
    rule = f"rule {data['policy']}/{data['rule']}" if data.get("policy") else f"rule {data.get('rule')}" if data.get("rule") else ""
    version = f" (facts revision {data['policy_revision']})" if data.get("policy_revision") else ""
    yield "signal", f"{data['event']} of {data['iss']}, {data['jti']}, confidence {data['confidence']}"
    yield "because", f"{rule}{version}{', counted ' + str(data['counted']) if data.get('counted') else ''}"
    yield "did", f"{data['response']}{' (asked for: ' + data['asked'] + ')' if data.get('asked') else ''}"
    yield "to", f"{data['scope']} {data.get('value') or data.get('target')}" if data.get("scope") else ""
    yield "posture", f"facts revision {data['posture_revision']}" if data.get("posture_revision") else ""
    yield "waits as", str(data.get("pending") or "") if not data.get("confirmed_by") else ""
    yield "confirmed by", str(data.get("confirmed_by") or "")
    yield "detail", str(data.get("detail") or "")
    yield "message", str(data.get("message") or "")


def _receipted(data: dict[str, Any]) -> Iterator[Pair]:
    yield "signal", f"{data['jti']} of {data['iss']}, rule {data['policy']}/{data['rule']}"
    yield "entry", f"{data['n']}, {'contained' if data['contained'] else 'NOT CONTAINED'}"
    yield "points", f"{data['confirmed']} confirmed, {data['expired']} expired, {len(data.get('uncontained', ()))} uncontained"


def _approved(data: dict[str, Any]) -> Iterator[Pair]:
    yield "approval", f"{data['id']}, {data['what']} by {data['by']}"
    yield "request", f"{data['agent']}  instance {data['instance']}, {data['tool']}"
    yield "bound to", data["digest"]
    yield "reason", str(data.get("reason") or "")
    yield "spent on", str(data.get("spent_on") or "")


def _plainly(data: dict[str, Any]) -> Iterator[Pair]:
    for name, value in data.items():
        if isinstance(value, str | int | float):
            yield name, str(value)


_BY_WHAT = {
    "exchanged": _exchanged,
    "notexchanged": _exchanged,
    "issued": _decided,
    "denied": _decided,
    "used": _used,
    "revoked": _revoked,
    "completed": _completed,
    "responded": _responded,
    "receipted": _receipted,
    "approved": _approved,
}
