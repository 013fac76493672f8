"""What a custodian commands: put, rotate and delete credentials, back them up and restore them; and prepare the next token key.

1.  The role: custodian over the trust domain.  2.  The command is whole.  3.  The value, opened, is for what the command says.  4.
Sealed under the KEK and kept.  5.  The fact that makes it count, against the revision that was read: of two custodians one is first.  6.
What no fact names any more is deleted.  7.  The record, without the value; the answer leaves after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from uuid import uuid4

from schemas.commands import ANSWER, Answer
from schemas.envelope import CloudEvent
from schemas.facts import FACT, Credential, CredentialVersion, Fact, Kind
from schemas.reasons import DenyReason
from schemas.record import CUSTODY, Custody
from schemas.sealed import SealedSecret
from schemas.vault import Kept, PrepareKey, VaultCommand
from streams.bus import Caller, PubAck, PublishConflict, PublishFailed, event
from streams.facts_keys import subject_of
from streams.facts_table import FactsTable
from streams.subjects import RECORD
from workers.broker.rotation import Rotation
from workers.broker.store import NotHeld, Store
from workers.broker.vault import digest_of
from workers.common.clock import Clock
from workers.common.recorder import Recorder, RecordUnavailable
from workers.common.roles import holds
from workers.common.rpc import Refused

SOURCE = "/weft/broker"
MAX_VERSIONS = 3
WRITE_S = 3.0  # of the 6 s that a person's client waits
SEEN_S = 1.0  # for the view to show what was committed
Row = dict[str, Any]


class FactsWriter(Protocol):
    """FACTS, to write; `streams.bus.Publisher` is one."""

    async def publish(
        self, stream: str, subject: str, body: bytes, *, msg_id: str, expected_last_subject_seq: int | None = None, deadline_s: float
    ) -> PubAck:
        """Raises PublishConflict, PublishFailed."""


class Custodian:
    """One method per command."""

    def __init__(
        self,
        facts: FactsTable,
        writer: FactsWriter,
        *,
        store: Store,
        rotation: Rotation,
        recorder: Recorder,
        clock: Clock,
        trust_domain: str,
        reach: Callable[[int, float], Awaitable[bool]],
    ) -> None:
        self._facts = facts
        self._writer = writer
        self._store = store
        self._rotation = rotation
        self._recorder = recorder
        self._clock = clock
        self._root = f"spiffe://{trust_domain}"
        self._reach = reach
        self._vault: dict[str, Callable[[Caller, VaultCommand], Awaitable[Row]]] = {
            "key": self._key,
            "put": self._put,
            "rotate": self._put,
            "use": self._use,
            "delete": self._delete,
            "backup": self._backup,
            "restore": self._restore,
        }

    async def prepare_key(self, who: Caller, asked: CloudEvent[PrepareKey]) -> bytes:
        """A new token key's public half.  Raises Refused."""
        self._check_role(who)  # 1
        key = await self._rotation.prepare()
        await self._record(Custody(person=who.name, what="key.prepared", kid=key.kid), asked.data.id)
        return event(ANSWER, Answer(rows=({"kid": key.kid, "jwk": key.jwk},)), source=SOURCE)

    async def vault(self, who: Caller, asked: CloudEvent[VaultCommand]) -> bytes:
        """Raises Refused.  Refusals of the vault are on record too."""
        self._check_role(who)  # 1
        order = asked.data
        said = Custody(person=who.name, what=f"credential.{order.what}", name=order.name, detail=order.reason)
        try:
            row = await self._vault[order.what](who, order)
        except Refused as refused:
            await self._record(said.model_copy(update={"refused": refused.reason, "detail": refused.detail}), order.id)
            raise
        if order.what != "key":
            await self._record(said.model_copy(update={"version": row.get("current")}), order.id)  # 7
        return event(ANSWER, Answer(rows=(row,), revision=row.get("revision")), source=SOURCE)

    def _check_role(self, who: Caller) -> None:
        if not holds(self._facts.person(who.name), "custodian", self._root):
            raise Refused(DenyReason.NOT_AUTHORIZED, f"takes the role of a custodian over {self._root}")

    # --- commands ---------------------------------------------------------------------------------------------------------------

    async def _key(self, _: Caller, __: VaultCommand) -> Row:
        return {"box_key": await self._store.box_key()}

    async def _put(self, who: Caller, order: VaultCommand) -> Row:
        name, held = self._named(order)
        if (held is None) == (order.what == "rotate"):
            text = f"there is no credential {name}: weft vault put" if held is None else f"{name} exists: weft vault rotate"
            raise Refused(DenyReason.NOT_FOUND if held is None else DenyReason.CONFLICT, text)
        hosts, type_ = (order.hosts, order.type) if held is None else (held.hosts, held.type)
        if not hosts:
            raise Refused(DenyReason.INVALID_CHANGE, "a credential names the hosts that may see it")
        value = await self._value(order, name, hosts, type_)  # 3
        version = 1 if held is None else held.versions[-1].version + 1
        draft = Credential(name=name, type=type_, hosts=hosts, current=version, versions=() if held is None else held.versions)
        secret = await self._store.seal_value(draft, version, value)  # 4
        made = CredentialVersion(version=version, digest=digest_of(secret.sealed), at=int(self._clock.now()))
        fact = draft.model_copy(update={"versions": (*draft.versions, made)[-MAX_VERSIONS:]})
        try:
            return await self._commit(who, fact, order.reason)
        except Refused as refused:
            if refused.reason is DenyReason.CONFLICT:  # else the fact may stand, and name it
                await self._store.vault.drop(name, (made.digest,))
            raise

    async def _value(self, order: VaultCommand, name: str, hosts: tuple[str, ...], type_: str) -> bytes:
        if order.boxed is None or order.box_key is None:
            raise Refused(DenyReason.MALFORMED, "no sealed value")
        try:
            boxed = await self._store.unbox(order.box_key, order.boxed)
        except NotHeld as error:
            raise Refused(DenyReason.INVALID_CHANGE, str(error)) from None
        if (boxed.name, boxed.type, sorted(boxed.hosts)) != (name, type_, sorted(hosts)):
            raise Refused(DenyReason.INVALID_CHANGE, "the value was sealed for another name, type or hosts")
        return boxed.value.encode("ascii")

    async def _use(self, who: Caller, order: VaultCommand) -> Row:
        _, held = self._existing(order)
        if order.version not in {version.version for version in held.versions}:
            kept = ", ".join(str(version.version) for version in held.versions)
            raise Refused(DenyReason.NOT_FOUND, f"version {order.version} is not kept; {kept} are")
        return await self._commit(who, held.model_copy(update={"current": order.version}), order.reason)

    async def _delete(self, who: Caller, order: VaultCommand) -> Row:
        name, held = self._existing(order)
        users = [tool.name for tool in self._facts.tools() if tool.egress is not None and tool.egress.credential == name]
        if users:
            raise Refused(DenyReason.INVALID_CHANGE, f"tools use it: {', '.join(users[:10])}; change their records first")
        revision = await self._write(who, name, None, order.reason)
        await self._store.vault.drop(name, (version.digest for version in held.versions))  # 6
        return {"name": name, "deleted": True, "revision": revision}

    async def _backup(self, _who: Caller, order: VaultCommand) -> Row:
        _, held = self._existing(order)
        try:
            versions = tuple([await self._store.sealed(held, version.version) for version in held.versions])
        except NotHeld as error:
            raise Refused(DenyReason.NOT_FOUND, str(error)) from None
        return {"kept": Kept(fact=held, versions=versions).plain()}

    async def _restore(self, who: Caller, order: VaultCommand) -> Row:
        """What no fact names is made anew; of what is there, the versions that this vault lost come back."""
        kept = order.kept
        if kept is None or order.name != kept.fact.name:
            raise Refused(DenyReason.MALFORMED, "nothing to restore")
        fact, held = kept.fact, self._facts.credential(kept.fact.name)
        wanted = {version.digest: version.version for version in (fact if held is None else held).versions}
        given = [secret for secret in kept.versions if wanted.get(digest_of(secret.sealed)) == secret.version and secret.name == fact.name]
        if held is None and (len(given) != len(wanted) or fact.current not in wanted.values()):
            raise Refused(DenyReason.INVALID_CHANGE, "the backup lacks a version that it names")
        for secret in given:
            await self._take_back(fact if held is None else held, secret)
        if held is None:
            return await self._commit(who, fact, order.reason)
        return {"name": fact.name, "current": held.current, "restored": [secret.version for secret in given]}

    async def _take_back(self, fact: Credential, secret: SealedSecret) -> None:
        """Keep it, unless it does not open here: sealed under another KEK, or changed."""
        try:
            await self._store.take(fact, secret)
        except NotHeld as error:
            raise Refused(DenyReason.INVALID_CHANGE, f"version {secret.version} does not open here: {error}") from None

    # --- the fact and the record ------------------------------------------------------------------------------------------------

    def _named(self, order: VaultCommand) -> tuple[str, Credential | None]:
        if order.name is None:
            raise Refused(DenyReason.MALFORMED, "no name")
        return order.name, self._facts.credential(order.name)

    def _existing(self, order: VaultCommand) -> tuple[str, Credential]:
        name, held = self._named(order)
        if held is None:
            raise Refused(DenyReason.NOT_FOUND, f"there is no credential {name}")
        return name, held

    async def _commit(self, who: Caller, fact: Credential, reason: str | None) -> Row:
        held = self._facts.credential(fact.name)
        revision = await self._write(who, fact.name, fact, reason)  # 5
        before = {version.digest for version in held.versions} if held is not None else set()
        await self._store.vault.drop(fact.name, before - {version.digest for version in fact.versions})  # 6
        return {"name": fact.name, "current": fact.current, "kept": [version.version for version in fact.versions], "revision": revision}

    async def _write(self, who: Caller, name: str, body: Credential | None, reason: str | None) -> int:
        fact = Fact(kind=Kind.CREDENTIAL, key=name, body=body, by=who.name, reason=reason)
        expected = self._facts.revision_of(Kind.CREDENTIAL, name)
        try:
            ack = await self._writer.publish(
                "FACTS",
                subject_of(Kind.CREDENTIAL, name),
                event(FACT, fact, source=SOURCE),
                msg_id=f"broker:credential:{uuid4().hex}",
                expected_last_subject_seq=expected,
                deadline_s=WRITE_S,
            )
        except PublishConflict:
            raise Refused(DenyReason.CONFLICT, "somebody was faster; nothing was changed, try again") from None
        except PublishFailed:
            raise Refused(DenyReason.DEADLINE_EXCEEDED, f"FACTS did not acknowledge; `weft history credential/{name}` shows it") from None
        await self._reach(ack.seq, SEEN_S)
        return ack.seq

    async def _record(self, said: Custody, id_: str) -> None:
        try:
            await self._recorder.record(
                RECORD.at("broker", "custody", said.person),
                event(CUSTODY, said, source=SOURCE, subject=said.person),
                f"broker:custody:{said.person}:{id_}",
            )
        except RecordUnavailable:
            raise Refused(DenyReason.RECORD_UNAVAILABLE, "RECORD did not acknowledge; `weft vault list` shows what was done") from None
