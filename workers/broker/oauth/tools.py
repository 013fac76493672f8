"""A token request that names a tool: from the exchange to what the decision engine reads, as an invocation does (`workers.common.intake`).

The client is an agent: its workload has a charter, lies under namespaces, and acts in the token.  `request_details` holds what an
invocation says besides: `actions`, `call` (the digests of the coming request) and `evidence`.  Pure.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Annotated, Any

from pydantic import Field, ValidationError
from weft.spiffeid import SpiffeID

from schemas.actors import ActorClaim
from schemas.base import Code, Sequence, Wire
from schemas.decision import Caller, DecisionInput, Parent, UserRights
from schemas.exchange import ExchangeInput
from schemas.facts import Tool
from schemas.invocation import CallParts
from schemas.reasons import DenyReason
from schemas.token import MAX_TTL_S, AuthorizationDetail, Evidence
from streams.facts_table import FactsTable
from workers.broker.oauth.clients import Authenticated
from workers.broker.oauth.form import Exchange
from workers.broker.oauth.refusals import OAuthRefused, refusal_of
from workers.broker.oauth.subjects import Vouched
from workers.broker.oauth.transactions import Continued, Workload
from workers.common.decision.draft import is_workload
from workers.common.svid import lower_assurance


class Details(Wire):
    """`request_details` of a request for a tool."""

    actions: Annotated[tuple[Code, ...], Field(min_length=1, max_length=16)] | None = None  # none: all that the tool offers
    call: CallParts | None = None
    evidence: Annotated[tuple[Sequence, ...], Field(max_length=8)] = ()


def read_details(request: Exchange) -> Details:
    """Raises OAuthRefused."""
    try:
        return Details.model_validate_json(json.dumps(request.details))
    except ValidationError:
        raise OAuthRefused("invalid_request", "request_details of a call holds actions, call and evidence, and nothing else") from None


def tool_of(resource: str, facts: FactsTable) -> Tool:
    """RFC 8707: the tool of this resource.  Raises OAuthRefused where there is none, or more than one."""
    found = [tool for tool in facts.tools() if tool.resource == resource]
    if len(found) != 1:
        raise refusal_of(DenyReason.TOOL_UNKNOWN, tool=True)
    return found[0]


def workload_of_client(client: Authenticated) -> Workload | None:
    """Who acts.  An instance that no issuer attests follows from the client, as on the bus it follows from the key."""
    if client.workload is None:
        return None
    return Workload(SpiffeID.parse(client.workload), client.instance or instance_of(client.client.client_id))


def instance_of(client_id: str) -> str:
    """`k` and 26 characters of base32: the SHA-256 of the client's id."""
    return "k" + base64.b32encode(hashlib.sha256(f"client\0{client_id}".encode()).digest()).decode().lower()[:26]


def decision_input(
    asked: ExchangeInput,
    tool: Tool,
    details: Details,
    *,
    client: Authenticated,
    workload: Workload,
    held: Continued | Vouched,
    acted: ActorClaim | None,
    evidence: tuple[Evidence, ...],
    rich: tuple[AuthorizationDetail, ...] | None,
    environment: dict[str, str],
) -> DecisionInput:
    """What `decide` reads; `acted` is who acted before.  Raises OAuthRefused where a call cannot be asked for so."""
    if client.jkt is None:
        raise OAuthRefused("invalid_dpop_proof", "a token for a call is bound to a key: send a DPoP proof", DenyReason.PROOF_INVALID)
    if len(asked.scope) != 1:
        raise OAuthRefused("invalid_scope", "a call has one purpose", DenyReason.PURPOSE_NOT_ALLOWED)
    user, parent = _carried(asked, client, held, acted)
    return DecisionInput(
        request_id=asked.request_id,
        request_digest=asked.request_digest,
        tool=tool.name,
        actions=details.actions or tool.actions,
        purpose=asked.scope[0],
        call=details.call,
        authorization_details=rich,
        caller=_caller(asked, client, workload, client.jkt),
        user=user,
        parent=parent,
        evidence=evidence,
        evidence_wanted=details.evidence,
        environment=environment,
        now=asked.now,
        views_fresh=asked.views_fresh,
        revocations=asked.revocations,
    )


def _carried(
    asked: ExchangeInput, client: Authenticated, held: Continued | Vouched, acted: ActorClaim | None
) -> tuple[UserRights | None, Parent | None]:
    """The person or the transaction, and with it whoever acted before."""
    if held.parent is not None:
        return None, held.parent.model_copy(update={"acted": acted})
    user = _person(asked, client, held.user if isinstance(held, Vouched) else None)
    if user is None and acted is not None:
        raise OAuthRefused("invalid_request", "subject_token: others acted for nobody", DenyReason.SUBJECT_TOKEN_INVALID)
    return None if user is None else user.model_copy(update={"acted": acted}), None


def _caller(asked: ExchangeInput, client: Authenticated, workload: Workload, jkt: str) -> Caller:
    """An instance that the client's own SVID names, as authentication or as actor token, is attested; the lower assurance counts."""
    actor, exp = asked.actor, client.exp or asked.now + MAX_TTL_S
    assurance = client.assurance if actor is None or actor.type != "jwt" else lower_assurance(client.assurance, actor.assurance)
    return Caller(
        id=str(workload.id),
        instance=workload.instance,
        attested=workload.instance.startswith("i"),
        assurance=assurance,
        jkt=jkt,
        svid_exp=exp if actor is None else min(exp, actor.exp),
    )


def _person(asked: ExchangeInput, client: Authenticated, user: UserRights | None) -> UserRights | None:
    """The person, with the rights that their token gives; where it says nothing of scope, the purpose that the ceiling allowed."""
    subject = asked.subject
    if subject is None or is_workload(subject.sub) or subject.sub == asked.client_id:
        if subject is not None and subject.sub not in (client.workload, asked.client_id):
            raise OAuthRefused("invalid_request", "subject_token: a tool is called for a person, or for the client itself")
        return None
    if user is not None and subject.scope is not None:
        return user
    return UserRights(
        sub=subject.sub,
        iss=subject.iss or asked.client_id,
        scope=asked.scope,
        client_id=asked.client_id,
        exp=subject.exp or asked.now + MAX_TTL_S,
        digest=subject.digest,
    )


def context_of(request: Exchange, client: Authenticated, address: str, inherited: dict[str, Any] | None = None) -> dict[str, Any]:
    """`rctx`: what the client says of its request, and over it what was seen here (the service is authoritative)."""
    return {**(inherited or {}), **request.context, "authn": client.method, "client_id": client.client.client_id, "peer": address}
