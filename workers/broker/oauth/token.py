"""The token endpoint.  RFC 6749 sections 4.4 and 5, RFC 8693, draft-ietf-oauth-transaction-tokens-10 as a Transaction Token Service.

For an authenticated client: 1. its proof of possession, once (RFC 9449 section 5).  2. The request.  3. The subject token.  4. Views:
never below the facts that a revocation here names.  5. The decision about the client and what it asks (`decide_exchange`).  6. Where a
tool is named, the decision engine's own, as for any invocation (`decide`).  7. Claims and size.  8. A subject
token that counts once, claimed; the record, acknowledged.  9. The signature.

A refusal is on record too, by the id that the answer carries.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import orjson
from weft.digest import canonical, sha256
from weft.dpop import verify_proof
from weft.errors import NonceRequired, ProofRefused

from schemas.accesstoken import ACCESS_TYP, Bound
from schemas.clients import TOKEN_EXCHANGE, GrantType
from schemas.decision import Parent, UserRights
from schemas.exchange import Exchange as Exchanging
from schemas.exchange import ExchangeDecision, ExchangeInput, Subject
from schemas.oauth import Answered, Asked
from schemas.reasons import DenyReason
from schemas.record import Exchanged, Issued
from schemas.token import MAX_TOKEN_BYTES, TOKEN_TYP, TokenClaims
from streams.subjects import connection_name
from workers.broker.claims import build_claims
from workers.broker.evidence import read_evidence
from workers.broker.forms import OURS
from workers.broker.mint import VIEW_WAIT_S
from workers.broker.oauth import tools
from workers.broker.oauth.claims import access_claims, transaction_claims
from workers.broker.oauth.clients import Authenticated, Once
from workers.broker.oauth.form import TXN_TOKEN, ClientCredentials, Exchange, Form, read_token_request
from workers.broker.oauth.nonces import use_nonce
from workers.broker.oauth.parts import Parts, Request, exchanged, refusal_on_record
from workers.broker.oauth.refusals import OAuthRefused, refusal_of, unavailable
from workers.broker.oauth.subjects import Reading, Vouched, read_subject
from workers.broker.oauth.transactions import Continued, read_transaction
from workers.broker.status import wanted as wanted_status
from workers.common.decision import decide
from workers.common.decision.exchange import decide_exchange
from workers.common.requests import RequestRefused


class TokenEndpoint:
    """Answers authenticated clients."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def answer(self, asked: Asked, form: Form, client: Authenticated) -> Answered:
        """200.  Raises OAuthRefused, RecordUnavailable; the refusal is on record then."""
        request = Request(asked, form, client)
        try:
            return await self._answer(request)
        except RequestRefused as refused:
            await self._parts.recording.refused(refusal_on_record(request, refused.reason, refused.detail), client)
            raise refusal_of(refused.reason, tool=request.call is not None) from None
        except OAuthRefused as refused:
            await self._parts.recording.refused(refusal_on_record(request, refused.reason, refused.detail), client)
            raise

    async def _answer(self, request: Request) -> Answered:
        await self._prove(request)  # 1
        wanted = read_token_request(request.form, self._parts.settings.trust_domain)  # 2
        if isinstance(wanted, ClientCredentials):
            return await self._client_credentials(request, wanted)
        return await self._exchange(request, wanted)

    # --- the proof ----------------------------------------------------------------------------------------------------------------

    async def _prove(self, request: Request) -> None:
        """What the token is bound to: the key of a DPoP proof, else the certificate where the client's record says so."""
        proofs, client = request.asked.proofs, request.client
        if len(proofs) > 1 or (client.client.dpop_required and not proofs):
            raise OAuthRefused("invalid_dpop_proof", "one DPoP proof", DenyReason.PROOF_INVALID)
        if proofs:
            jkt = await self._proven(proofs[0], request.asked.url)
            request.client, request.bound = replace(client, jkt=jkt), Bound(jkt=jkt)
        elif client.x5t is not None and client.client.certificate_bound:
            request.bound = Bound.model_validate({"x5t#S256": client.x5t})
        elif client.client.certificate_bound:
            raise OAuthRefused("invalid_request", "its tokens are bound to a certificate, and none was shown", DenyReason.PROOF_INVALID)

    async def _proven(self, unverified_proof: str, url: str) -> str:
        now = self._parts.clock.now()
        try:
            nonces = self._parts.nonces
            proof = verify_proof(unverified_proof, method="POST", url=url, now=now, nonce=None if nonces is None else nonces.good(now))
        except NonceRequired:
            raise use_nonce() from None
        except ProofRefused as refused:
            raise OAuthRefused("invalid_dpop_proof", f"the proof: {refused.detail}", DenyReason.PROOF_INVALID) from None
        if not await self._parts.once.claim(Once(proof.claim, proof.exp), now):
            raise OAuthRefused("invalid_dpop_proof", "the proof was used before", DenyReason.ALREADY_CLAIMED)
        return proof.jkt

    # --- client_credentials -------------------------------------------------------------------------------------------------------

    async def _client_credentials(self, request: Request, wanted: ClientCredentials) -> Answered:
        own = tuple(scope for scope in request.client.client.scopes if not scope.endswith("*"))
        resources = tuple(resource for resource in wanted.resources if resource != self._parts.settings.issuer)
        decision, asked = await self._decide(request, "client_credentials", wanted.scope or own, None, resources)
        parts = self._parts
        if len(wanted.resources) > len(resources) > 0:
            asked = asked.model_copy(update={"resources": (parts.settings.issuer, *resources)})
        claims = access_claims(asked, decision, request.client, bound=request.bound, settings=parts.settings, fresh_id=parts.fresh_id)
        token = await self._issue(request, exchanged(request, decision, claims, parts.signer.kid), ACCESS_TYP)
        kind = "DPoP" if claims.cnf is not None and claims.cnf.jkt is not None else "Bearer"
        return Answered(
            status=200,
            body={"access_token": token, "token_type": kind, "expires_in": claims.exp - claims.iat, "scope": claims.scope},
        )

    # --- exchange -----------------------------------------------------------------------------------------------------------------

    async def _exchange(self, request: Request, wanted: Exchange) -> Answered:
        continued, vouched = self._subject(request, wanted)  # 3
        request.once = vouched.once if vouched is not None else None
        subject = continued.subject if continued is not None else vouched.subject if vouched is not None else None
        named = wanted.resource
        if continued is not None and continued.tool is not None and named is None:
            named = self._same_tool(continued)
        decision, asked = await self._decide(request, TOKEN_EXCHANGE, wanted.scope, subject, ())
        if named is None:
            return await self._plain(request, wanted, asked, decision, continued)
        user = vouched.user if vouched is not None else None
        parent = continued.parent if continued is not None else None
        return await self._call(request, wanted, asked, named, (user, parent))

    def _subject(self, request: Request, wanted: Exchange) -> tuple[Continued | None, Vouched | None]:
        parts, now = self._parts, self._parts.clock.now()
        if wanted.subject_type not in request.client.client.ceilings:
            raise refusal_of(DenyReason.SUBJECT_TYPE_NOT_ALLOWED, tool=False)
        if wanted.subject_type != "txn_token":
            reading = Reading(parts.views.facts, parts.revocations, parts.settings.issuer, now)
            return None, read_subject(wanted.subject_token, wanted.subject_type, request.client, reading)
        settings = parts.settings
        continued = read_transaction(
            wanted.subject_token,
            parts.verifier,
            request.client,
            request.workload,
            issuer=settings.issuer,
            trust_domain=settings.trust_domain,
            now=now,
        )
        if wanted.details and wanted.resource is None and continued.tool is None:
            raise OAuthRefused("invalid_request", "request_details: tctx was fixed when the transaction began")
        return continued, None

    def _same_tool(self, continued: Continued) -> str:
        """A replacement of a token for a tool is for that tool; who was called with it names the next one."""
        tool = self._parts.views.facts.tool(continued.tool or "")
        if continued.parent.how == "child" or tool is None:
            raise OAuthRefused("invalid_request", "resource names the tool to call", DenyReason.TOOL_UNKNOWN)
        return tool.resource

    async def _plain(
        self, request: Request, wanted: Exchange, asked: ExchangeInput, decision: ExchangeDecision, continued: Continued | None
    ) -> Answered:
        parts, client = self._parts, request.client
        claims = transaction_claims(
            asked,
            decision,
            client,
            bound=request.bound,
            tctx=wanted.details if continued is None else continued.tctx,
            rctx=tools.context_of(wanted, client, request.asked.address, None if continued is None else continued.rctx),
            settings=parts.settings,
            fresh_id=parts.fresh_id,
        )
        token = await self._issue(request, exchanged(request, decision, claims, parts.signer.kid), TOKEN_TYP)
        return _transaction_answer(token, claims.exp - claims.iat, claims.scope)

    async def _call(
        self, request: Request, wanted: Exchange, asked: ExchangeInput, named: str, whom: tuple[UserRights | None, Parent | None]
    ) -> Answered:
        workload = request.workload
        if workload is None:
            raise OAuthRefused("unauthorized_client", "only a workload calls tools", DenyReason.AGENT_UNKNOWN)
        parts, details = self._parts, tools.read_details(wanted)
        user, parent = whom
        evidence = await read_evidence(details.evidence, parent.txn if parent is not None else None, parts.history, parts.views.facts)
        await self._reach()
        self._gates(request, asked)  # again, so that both decisions stand on the same facts
        request.call = call = tools.decision_input(
            asked,
            tools.tool_of(named, parts.views.facts),
            details,
            client=request.client,
            workload=workload,
            user=user,
            parent=parent,
            evidence=evidence,
            environment=parts.settings.environment,
        )
        request.decision = decision = decide(call, parts.views.facts)  # 6
        if not decision or decision.grant is None:
            raise refusal_of(decision.reason or DenyReason.INTERNAL, tool=True)
        if decision.grant.approval is not None:  # it is spent on one signed request, and this is none
            raise refusal_of(DenyReason.STEP_UP_REQUIRED, tool=True)
        made = build_claims(  # 7
            call,
            decision,
            settings=parts.settings,
            now=int(parts.clock.now()),
            fresh_id=parts.fresh_id,
            intent=None,
            req_wl=request.client.name,
            rctx=tools.context_of(wanted, request.client, request.asked.address),
        )
        if decision.grant.audience not in OURS:
            raise OAuthRefused("invalid_request", "this tool takes another form of token", DenyReason.RESOURCE_NOT_ALLOWED)
        if decision.grant.status_list:
            given = await parts.statuses.allocate(wanted_status(made, parts.signer.kid))
            made["status"] = {"status_list": {"idx": given.idx, "uri": given.uri}}
        claims = TokenClaims.model_validate_json(orjson.dumps(made))
        issued = Issued(
            input=call,
            decision=decision,
            claims=claims,
            kid=parts.signer.kid,
            explanation=request.asked.id,
            caller=connection_name(workload.instance, workload.id),
            exchange=request.exchange,
        )
        token = await self._issue(request, issued, TOKEN_TYP)
        return _transaction_answer(token, claims.exp - claims.iat, claims.scope, decision.grant.endpoint)

    # --- what all have in common ----------------------------------------------------------------------------------------------------

    async def _decide(
        self, request: Request, grant: GrantType, scope: tuple[str, ...], subject: Subject | None, resources: tuple[str, ...]
    ) -> tuple[ExchangeDecision, ExchangeInput]:
        await self._reach()  # 4
        parts, client, now = self._parts, request.client, self._parts.clock.now()
        request.input = asked = ExchangeInput(
            request_id=request.asked.id,
            request_digest=sha256(canonical(request.form.plain())),
            grant=grant,
            client_id=client.client.client_id,
            auth_method=client.method,
            workload=client.workload,
            instance=client.instance,
            assurance=client.assurance,
            subject=subject,
            scope=scope,
            resources=resources,
            now=int(now),
            views_fresh=parts.views.fresh(now),
            revocations=parts.views.revocations,
        )
        return self._gates(request, asked), asked

    def _gates(self, request: Request, asked: ExchangeInput) -> ExchangeDecision:
        decision = decide_exchange(asked, self._parts.views.facts)  # 5
        request.exchange = Exchanging(input=asked, decision=decision)
        if not decision:
            raise refusal_of(decision.reason or DenyReason.INTERNAL, tool=False)
        return decision

    async def _reach(self) -> None:
        """See workers.broker.mint: who mints at a counter knows every posture that an entry below it stands for."""
        views = self._parts.views
        if views.facts.revision < views.facts_needed and not await views.reach(views.facts_needed, VIEW_WAIT_S):
            raise unavailable(DenyReason.VIEW_BEHIND)

    async def _issue(self, request: Request, issued: Issued | Exchanged, typ: str) -> str:
        parts = self._parts
        if parts.signer.size_of(issued.claims.wire(), typ) > MAX_TOKEN_BYTES:
            raise OAuthRefused("invalid_request", f"the token would be longer than {MAX_TOKEN_BYTES} bytes", DenyReason.TOO_LARGE)
        if request.once is not None and not await parts.once.claim(request.once, parts.clock.now()):
            raise OAuthRefused("invalid_request", "the subject token was used before", DenyReason.ALREADY_CLAIMED)
        committed = await parts.recording.issued(issued, request.client, typ)  # 8
        return parts.signer.issue_token(committed)  # 9


def _transaction_answer(token: str, expires_in: int, scope: str, endpoint: str | None = None) -> Answered:
    """The draft's response; `expires_in` and `scope` as RFC 8693 has them, and where the tool lives, if one was named."""
    body: dict[str, Any] = {"access_token": token, "issued_token_type": TXN_TOKEN, "token_type": "N_A", "expires_in": expires_in}
    return Answered(status=200, body={**body, "scope": scope, **({} if endpoint is None else {"endpoint": endpoint})})
