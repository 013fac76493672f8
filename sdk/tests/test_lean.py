"""Requests of the lean client, on a bus that is a function; the real server is in tests/integration/test_publisher.py and everywhere."""

import asyncio

import nats.errors
import pytest
from nats.aio.client import Client
from weft.lean import LeanClient


class OnNoBus(LeanClient):
    """Keeps what it publishes; a test hands it the messages that a server would."""

    def __init__(self) -> None:
        super().__init__()
        self._status = Client.CONNECTED
        self.sent: list[tuple[str, str]] = []

    async def _send_subscribe(self, _sub) -> None:
        pass

    async def publish(self, subject, _payload=b"", reply="", headers=None) -> None:
        self.sent.append((subject, reply))

    async def arrives(self, subject: str, data: bytes = b"", headers: bytes = b"") -> None:
        await self._process_msg(1, subject.encode(), b"", data, headers)


async def asked(client: OnNoBus, *subjects: str) -> list[asyncio.Task]:
    asking = [asyncio.create_task(client.request(subject, b"", timeout=5)) for subject in subjects]
    while len(client.sent) < len(subjects):  # noqa: ASYNC110 - a turn or two
        await asyncio.sleep(0)
    return asking


async def test_each_answer_finds_its_request_in_whatever_order():
    client = OnNoBus()
    asking = await asked(client, "a", "b", "c")
    inboxes = dict(client.sent)
    assert len(set(inboxes.values())) == 3
    for name in ("c", "a", "b"):
        await client.arrives(inboxes[name], name.encode())
    assert [(await one).data for one in asking] == [b"a", b"b", b"c"]


async def test_a_second_answer_a_late_one_and_a_stranger_change_nothing():
    client = OnNoBus()
    (asking,) = await asked(client, "a")
    inbox = client.sent[0][1]
    await client.arrives(inbox, b"first")
    await client.arrives(inbox, b"second")
    assert (await asking).data == b"first"
    await client.arrives(inbox, b"late")
    await client.arrives(inbox.rpartition(".")[0] + ".99", b"stranger")
    assert client._answers._waiting == {}


async def test_silence_is_a_timeout_and_leaves_nothing_behind():
    client = OnNoBus()
    with pytest.raises(nats.errors.TimeoutError):
        await client.request("a", b"", timeout=0.01)
    (asking,) = await asked(OnNoBus(), "a")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert client._answers._waiting == {}


async def test_nobody_there_is_said_at_once():
    client = OnNoBus()
    (asking,) = await asked(client, "a")
    await client.arrives(client.sent[0][1], headers=b"NATS/1.0 503\r\n\r\n")
    with pytest.raises(nats.errors.NoRespondersError):
        await asking


async def test_inboxes_of_two_connections_have_nothing_in_common():
    inboxes = []
    for _ in range(2):
        client = OnNoBus()
        (asking,) = await asked(client, "a")
        inboxes.append(client.sent[0][1].rpartition(".")[0])
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    assert inboxes[0] != inboxes[1]
