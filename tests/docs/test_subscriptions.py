"""What each worker's application subscribes to, against the access table that its credential is made from."""

from __future__ import annotations

import pytest

from streams.access import CREDENTIALS
from tests.support import fabric
from tests.support.workers import running
from workers.supervisor.roster import ISSUER, WORKERS, build_of

# Subscribed while answering or loading: private inboxes are the credential's own, see tests/integration/test_access_walk.py.
FABRIC_WORKERS = [worker for worker in (*WORKERS, ISSUER) if CREDENTIALS[worker].account == "FABRIC"]


def covers(allowed: str, wanted: str) -> bool:
    """NATS's subset rule, for the filters that the table holds."""
    have, want = allowed.split("."), wanted.split(".")
    for at, token in enumerate(have):
        if token == ">":
            return len(want) > at
        if at >= len(want) or (token not in {"*", want[at]}) or want[at] == ">":
            return False
    return len(have) == len(want)


@pytest.mark.parametrize(
    ("allowed", "wanted", "covered"),
    [
        ("a.>", "a.b", True), ("a.>", "a.b.>", True), ("a.>", "a", False), ("a.b", "a.b", True), ("a.b", "a.>", False),
        ("a.*", "a.b", True), ("a.*", "a.b.c", False), ("a.*.c", "a.b.c", True), ("b.>", "a.b", False),
    ],
)  # fmt: skip
def test_the_rule_itself(allowed, wanted, covered):
    assert covers(allowed, wanted) is covered


@pytest.mark.parametrize("worker", FABRIC_WORKERS)
async def test_a_worker_subscribes_to_what_its_credential_allows_and_no_right_lies_idle(worker, tmp_path, monkeypatch):
    """INVARIANT: the access table is what the workers really do: no subscription is refused, and no right is left over.

    A handler on a new subject without a row would break it (the server refuses it, silently for everybody but the log), and so would
    a row that outlived its handler: a right nobody needs is one that only an attacker uses.
    """
    from nats.aio.client import Client

    heard: set[str] = set()
    errors: list[str] = []
    subscribe = Client.subscribe

    async def keep(error):
        errors.append(str(error))

    async def noted(self, subject, *args, **kwargs):
        heard.add(subject)
        return await subscribe(self, subject, *args, **kwargs)

    server = await fabric.start(tmp_path / "s")
    monkeypatch.setattr(Client, "subscribe", noted)
    monkeypatch.setattr("streams.bus._on_error", keep)
    try:
        async with running(build_of(worker), server.settings) as app:
            await app.runtime.nc.flush()
    finally:
        await server.close()
    own = {subject for subject in heard if not subject.startswith(("_INBOX", "$SYS"))}
    allowed = {subject for subject in CREDENTIALS[worker].permissions.subscribe if not subject.startswith("_INBOX")}
    assert {subject for subject in own if not any(covers(right, subject) for right in allowed)} == set()
    assert errors == []
    views = {"weft.push.fact.>", "weft.push.revocation.>"}  # every worker may follow both
    of_a_role = {"weft.order.revoke", "weft.command.revocation.drill.>"}  # the revocation writer's, once it has taken its role
    if worker == "signals":
        of_a_role.add("weft.push.record.>")  # followed once there is a detection
    assert {right for right in allowed if not any(covers(right, subject) for subject in own)} - views - of_a_role == set()


def test_every_worker_has_a_credential_of_its_own():
    names = {name for name in CREDENTIALS if not name.startswith("admission-")} - {"topology"}
    assert names == {*WORKERS, ISSUER}
