"""Headers are read as nats-py reads them, whatever they are, the first time and every other."""

from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from streams.headers import MAX_NAMES, HeaderClient

NAMES = st.sampled_from([b"Nats-Msg-Id", b"Status", b" Padded ", b"In side", b"\xff", b"", b"Nats-Subject"]) | st.binary(max_size=6)
LINES = st.lists(st.tuples(NAMES, st.sampled_from([b":", b": ", b"", b":\t"]), st.binary(max_size=8)), max_size=6)


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
