"""The SPIFFE Workload API over gRPC on a Unix socket: its JWT profile.  Workload Endpoint sections 3 and 4, Workload API section 6.

`FetchJWTSVID`, `FetchJWTBundles` and `ValidateJWTSVID`; every other method is Unimplemented.  Who calls is what the kernel says of
the connection.  As in SPIRE, who has no identity may neither read bundles nor validate.  Deviation: one audience per SVID.

grpcio shows a server nothing of its peer's process, grpclib leaves us the socket.
"""

from __future__ import annotations

from asyncio import BaseTransport
from typing import Any

from google.protobuf.json_format import ParseDict
from grpclib.const import Cardinality, Handler, Status
from grpclib.exceptions import GRPCError
from grpclib.protocol import H2Protocol
from grpclib.server import Server, Stream
from weft.spiffeid import InvalidSpiffeID, SpiffeID

from workers.common.clock import Clock
from workers.common.credentials import audiences
from workers.common.identity import IdentityRefused, TrustBundles, verify_jwt_svid
from workers.issuer import messages
from workers.issuer.bundleboard import BundleBoard
from workers.issuer.issuer import Issuer, NoIdentity
from workers.issuer.kernel import NotAttested, Peer

SECURITY_HEADER = "workload.spiffe.io"
MAX_AUDIENCE_CHARS = 1024


class WorkloadServer(Server):
    """A gRPC server that pins the process at the other end of each connection as it is made."""

    def _protocol_factory(self) -> H2Protocol:
        protocol = super()._protocol_factory()
        return _Pinned(protocol.handler, protocol.config, protocol.h2_config)


class _Pinned(H2Protocol):
    peer: Peer | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        try:
            self.peer = Peer(transport.get_extra_info("socket"))
        except NotAttested:
            transport.close()
            return
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.peer is not None:
            self.peer.close()
            super().connection_lost(exc)


class WorkloadAPI:
    """The methods.  Each checks the security header first, so that no web page's request is ever answered."""

    def __init__(self, issuer: Issuer, board: BundleBoard, bundles: TrustBundles, clock: Clock) -> None:
        self._issuer = issuer
        self._board = board
        self._bundles = bundles
        self._clock = clock

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib asks of a service; the streams that are not offered are left out, which is Unimplemented."""
        m, one, many = messages, Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            f"/{m.SERVICE}/FetchJWTSVID": Handler(self.fetch_jwt_svid, one, m.JWTSVIDRequest, m.JWTSVIDResponse),
            f"/{m.SERVICE}/FetchJWTBundles": Handler(self.fetch_jwt_bundles, many, m.JWTBundlesRequest, m.JWTBundlesResponse),
            f"/{m.SERVICE}/ValidateJWTSVID": Handler(self.validate_jwt_svid, one, m.ValidateJWTSVIDRequest, m.ValidateJWTSVIDResponse),
        }

    async def fetch_jwt_svid(self, stream: Stream[Any, Any]) -> None:
        """One SVID for each identity of the caller, or for the one it names."""
        request = await _request(stream)
        if len(request.audience) != 1 or not 0 < len(request.audience[0]) <= MAX_AUDIENCE_CHARS:
            raise GRPCError(Status.INVALID_ARGUMENT, "exactly one audience is needed")
        if request.spiffe_id:
            _check_spiffe_id(request.spiffe_id)
        try:
            issued = await self._issuer.issue(_peer(stream), request.audience[0], request.spiffe_id)
        except NoIdentity as error:
            raise GRPCError(Status.PERMISSION_DENIED, str(error)) from None
        await stream.send_message(messages.JWTSVIDResponse(svids=[messages.JWTSVID(spiffe_id=name, svid=svid) for name, svid in issued]))

    async def fetch_jwt_bundles(self, stream: Stream[Any, Any]) -> None:
        """The complete state at once and at every change, for as long as the caller has an identity."""
        await _request(stream)
        async for bundles in self._board.watch():
            await self._check_identity(stream)
            await stream.send_message(messages.JWTBundlesResponse(bundles=bundles))

    async def validate_jwt_svid(self, stream: Stream[Any, Any]) -> None:
        """Whether an SVID of any trust domain whose bundle we hold is good for this audience."""
        request = await _request(stream)
        await self._check_identity(stream)
        if not request.audience or not request.svid:
            raise GRPCError(Status.INVALID_ARGUMENT, "audience and svid are needed")
        try:
            workload, claims, _ = verify_jwt_svid(request.svid, self._bundles, now=self._clock.now())
        except IdentityRefused as refused:
            raise GRPCError(Status.INVALID_ARGUMENT, refused.detail) from None
        named = audiences(claims.get("aud"))
        if request.audience not in named:
            raise GRPCError(Status.INVALID_ARGUMENT, "the audience is another")
        answer = messages.ValidateJWTSVIDResponse(spiffe_id=str(workload))
        ParseDict({**claims, "aud": named}, answer.claims)
        await stream.send_message(answer)

    async def _check_identity(self, stream: Stream[Any, Any]) -> None:
        try:
            await self._issuer.identities(_peer(stream))
        except NoIdentity as error:
            raise GRPCError(Status.PERMISSION_DENIED, str(error)) from None


async def _request(stream: Stream[Any, Any]) -> Any:
    if stream.metadata is None or stream.metadata.get(SECURITY_HEADER) != "true":
        raise GRPCError(Status.INVALID_ARGUMENT, f"the metadata {SECURITY_HEADER}: true is missing")
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "no request")
    return request


def _peer(stream: Stream[Any, Any]) -> Peer:
    transport = stream.peer._transport  # noqa: SLF001 - grpclib offers the address only, and a Unix socket's is empty
    protocol = transport.get_protocol()
    if not isinstance(protocol, _Pinned) or protocol.peer is None:
        raise GRPCError(Status.PERMISSION_DENIED, "no identity issued")
    return protocol.peer


def _check_spiffe_id(text: str) -> None:
    try:
        SpiffeID.parse(text)
    except InvalidSpiffeID as error:
        raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from None
