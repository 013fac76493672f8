"""The token endpoint.  RFC 6749 sections 4.4 and 5, RFC 8693.

For an authenticated client: 1. its proof of possession, once (RFC 9449 section 5).  2. The request.  3. Views: never below the facts that
a revocation here names.  4. What it brings: the actor token, the subject token.  5. The decision about the client and what it asks
(`decide_exchange`).  6. Where a tool is named, the decision engine's own, as for any invocation (`decide`).  7. Claims and size.  8. What
counts once, claimed; the record, acknowledged.  9. The signature.  Steps 3, 5, 8 and 9 are `steps`; exchanges `exchanging`, `calling`.

A refusal is on record too, by the id that the answer carries.
"""

from __future__ import annotations

from dataclasses import replace

from weft.dpop import verify_proof
from weft.errors import NonceRequired, ProofRefused

from schemas.accesstoken import ACCESS_TYP, Bound
from schemas.oauth import Answered, Asked
from schemas.reasons import DenyReason
from workers.broker.oauth.claims import access_claims, kind_of
from workers.broker.oauth.clients import Authenticated, Once
from workers.broker.oauth.exchanging import Exchanging
from workers.broker.oauth.form import ClientCredentials, Form, read_token_request
from workers.broker.oauth.nonces import use_nonce
from workers.broker.oauth.parts import Parts, Request, exchanged, refusal_on_record
from workers.broker.oauth.refusals import OAuthRefused, refusal_of
from workers.broker.oauth.steps import Steps
from workers.common.requests import RequestRefused


class TokenEndpoint:
    """Answers authenticated clients."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._steps = Steps(parts)
        self._exchanging = Exchanging(self._steps)

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
        return await self._exchanging.exchange(request, wanted)  # 3 to 9

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
        await self._steps.reach()
        decision, asked = self._steps.decide(request, "client_credentials", wanted.scope or own, resources=resources)
        parts = self._parts
        if len(wanted.resources) > len(resources) > 0:
            asked = asked.model_copy(update={"resources": (parts.settings.issuer, *resources)})
        claims = access_claims(asked, decision, request.client, bound=request.bound, settings=parts.settings, fresh_id=parts.fresh_id)
        token = await self._steps.issue(request, exchanged(request, decision, claims, parts.signer.kid), ACCESS_TYP)
        body = {"access_token": token, "token_type": kind_of(claims.cnf), "expires_in": claims.exp - claims.iat, "scope": claims.scope}
        return Answered(status=200, body=body)
