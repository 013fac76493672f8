"""Headers are read and written as nats-py does it, whatever they are, the first time and every other."""

from typing import Any

import nats.errors
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from weft.headers import MAX_NAMES, HeaderClient

NAMES = st.sampled_from([b"Nats-Msg-Id", b"Status", b" Padded ", b"In side", b"\xff", b"", b"Nats-Subject"]) | st.binary(max_size=6)
LINES = st.lists(st.tuples(NAMES, st.sampled_from([b":", b": ", b"", b":\t"]), st.binary(max_size=8)), max_size=6)
SENT = st.dictionaries(
    st.sampled_from(["Nats-Msg-Id", "Content-Type", " Padded ", "In side", "", "X"]) | st.text(max_size=4), st.text(max_size=8), max_size=4
)


@given(LINES)
def test_the_same_as_nats_py(lines):
    """INVARIANT: remembering names changes no header: what nats-py would not read is not read, what it would is.

    A name remembered from a line that held no value, or matched without its colon, would break it.
    """
    raw = b"\r\n".join(name + separator + value for name, separator, value in lines)
    for _ in range(2):
        assert HeaderClient._parse_header_lines(raw) == Client._parse_header_lines(raw)


def test_names_of_a_stranger_fill_no_memory():
    for n in range(MAX_NAMES * 2):
        HeaderClient._parse_header_lines(f"X-{n}: 1".encode())
    assert len(HeaderClient._names) <= MAX_NAMES


@pytest.mark.parametrize("times", [2])
@given(SENT, st.binary(max_size=8))
async def test_what_is_sent_is_what_nats_py_sends(times: int, headers: dict[str, str], payload: bytes) -> None:
    """INVARIANT: the bytes on the wire are nats-py's, and what it refuses is refused: no value ends a header line or begins another.

    A value with a line break that was joined as it is would break it.
    """
    for _ in range(times):
        assert await _sent(HeaderClient(), headers, payload) == await _sent(Client(), headers, payload)


async def test_no_more_names_are_remembered_than_a_program_has() -> None:
    for n in range(MAX_NAMES * 2):
        await _sent(HeaderClient(), {f"X-{n}": "1"}, b"")
    assert len(HeaderClient._written) <= MAX_NAMES


async def _sent(client: Client, headers: dict[str, str], payload: bytes) -> Any:
    commands: list[bytes] = []

    async def keep(command: bytes) -> None:
        commands.append(bytes(command))

    client._send_command = keep  # type: ignore[method-assign]
    try:
        await client._send_publish("a.b", "_INBOX.c", payload, len(payload), dict(headers))
    except nats.errors.Error as refused:
        return type(refused)
    return commands, client.stats["out_msgs"], client.stats["out_bytes"]
