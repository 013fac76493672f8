"""The issuer's decisions behind both sockets: who is this process, may it be launched, what does it get."""

from __future__ import annotations

import asyncio

import structlog
from weft.spiffeid import SpiffeID

from workers.common import log
from workers.common.clock import Clock
from workers.issuer.kernel import NotAttested, Peer, Process, instance_of
from workers.issuer.launches import Launches, TooManyLaunches
from workers.issuer.registered import Host, Launch, Registrations, identities_of, may_launch
from workers.issuer.svids import SVIDSigner

logger = structlog.get_logger()


class NoIdentity(Exception):
    """Nobody that is registered.  The text says no more than that."""


class Issuer:
    """For one trust domain, on one machine."""

    def __init__(self, signer: SVIDSigner, registrations: Registrations, host: Host, launches: Launches, clock: Clock) -> None:
        self._signer = signer
        self._registrations = registrations
        self._host = host
        self._launches = launches
        self._clock = clock

    async def identities(self, peer: Peer) -> tuple[Process, list[str]]:
        """The process and all that it is, at least one.  Raises NoIdentity."""
        process = await self._attest(peer)
        found = identities_of(process, self._launches.of(process.key), self._registrations, self._host)
        ours = [spiffe_id for spiffe_id in found if SpiffeID.parse(spiffe_id).trust_domain == self._signer.trust_domain]
        if not ours:
            logger.info(log.SVID_REFUSED, pid=process.pid, uid=process.uid, path=process.path)
            raise NoIdentity("no identity issued")
        return process, ours

    async def issue(self, peer: Peer, audience: str, spiffe_id: str = "") -> list[tuple[str, str]]:
        """SPIFFE IDs with their SVIDs: of the one that is asked for, or of all.  Raises NoIdentity."""
        process, ours = await self.identities(peer)
        wanted = [one for one in ours if spiffe_id in ("", one)]
        if not wanted:
            raise NoIdentity("no identity issued")
        instance, now = instance_of(process, self._host.boot_id), self._clock.now()
        logger.info(log.SVID_ISSUED, pid=process.pid, instance=instance, ids=wanted)
        return [(one, self._signer.issue(one, audience, instance, now)) for one in wanted]

    async def launch(self, peer: Peer, launch: Launch) -> str:
        """Let the calling process become that workload once it runs that command; returns its instance id.  Raises NoIdentity."""
        caller = await self._attest(peer)
        if not may_launch(launch, caller, self._registrations, self._host):
            logger.info(log.LAUNCH_REFUSED, pid=caller.pid, uid=caller.uid, id=launch.spiffe_id)
            raise NoIdentity("no registered selectors match this program and user")
        try:
            self._launches.add(caller.key, peer.pidfd(), launch)
        except TooManyLaunches:
            raise NoIdentity("too many programs are running") from None
        instance = instance_of(caller, self._host.boot_id)
        logger.info(log.LAUNCH_REGISTERED, pid=caller.pid, instance=instance, id=launch.spiffe_id)
        return instance

    def start(self) -> None:
        """Remember who was launched before."""
        self._launches.restore()

    def close(self) -> None:
        """Watch nobody any more."""
        self._launches.close()

    async def _attest(self, peer: Peer) -> Process:
        try:
            return await asyncio.to_thread(peer.process)  # the first time it hashes a whole executable
        except NotAttested as error:
            logger.info(log.SVID_REFUSED, pid=peer.pid, uid=peer.uid, cause=str(error))
            raise NoIdentity("no identity issued") from None
