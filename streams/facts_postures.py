"""Facts that decide a call besides its agent and tool: policies and postures, and what a person was asked."""

from __future__ import annotations

from schemas.facts import MAX_APPROVALS, Approval, Kind, Policy, Posture, Scope
from streams.facts_keys import posture_key
from streams.facts_names import digest_of, prefixes_of, subject_of
from streams.facts_store import FactsStore


class PostureFacts(FactsStore):
    """Look-ups of a `FactsTable`."""

    def policies(self) -> tuple[Policy, ...]:
        """All readable Cedar policies, by name.  Who decides by them asks `unreadable(Kind.POLICY)` too."""
        return self._bodies(Kind.POLICY, Policy)

    def posture(self, scope: Scope, target: str) -> Posture | None:
        """One posture, by its target's digest; one that cannot be read is a quarantine."""
        key = posture_key(scope, target)
        posture = self._body(Kind.POSTURE, key, Posture)
        if posture is None and self._unreadable_at(Kind.POSTURE, key):
            return Posture(scope=scope, target=target, level="quarantined", causes=())
        return posture

    def postures_for(
        self, instance: str | None, agent_id: str | None, user: str | None, transaction: str | None = None
    ) -> tuple[Posture, ...]:
        """The postures of an instance, an agent, every prefix of its ID, a person, and a transaction."""
        if not self._slots[Kind.POSTURE]:
            return ()
        targets: list[tuple[Scope, str | None]] = [("instance", instance), ("agent", agent_id), ("user", user)]
        targets += [("transaction", transaction)]
        targets += [("namespace", prefix) for prefix, _ in prefixes_of(agent_id or "")]
        found = (self.posture(scope, digest_of(scope, value)) for scope, value in targets if value is not None)
        return tuple(posture for posture in found if posture is not None)

    def approvals_of(self, agent_id: str) -> tuple[Approval, ...]:
        """What people were asked on behalf of this agent, in every state."""
        subject = subject_of(agent_id)
        if subject is None or not self._slots[Kind.APPROVAL]:
            return ()
        found = (self._body(Kind.APPROVAL, f"{subject}.{slot}", Approval) for slot in range(MAX_APPROVALS))
        return tuple(approval for approval in found if approval is not None)

    def approvals(self) -> tuple[Approval, ...]:
        """All of them."""
        return self._bodies(Kind.APPROVAL, Approval)
