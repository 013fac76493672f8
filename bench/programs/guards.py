"""Many receivers in one process: `guards.py URL COUNT bare SUBJECT` or `guards.py URL COUNT guard KID HEX FIRST`.

Prints `ready`, then a line with the time whenever the last of them has heard one more message, or applied one more entry.
"""

import asyncio
import sys
import time
from functools import partial

import nats
import uvloop
from weft.follower import RevocationFollower
from weft.nkey import KeyPair
from weft.wire import HEADERS, event


class Last:
    """Which round the slowest is in."""

    def __init__(self, count: int) -> None:
        self._rounds = [0] * count
        self._told = 0

    def heard(self, index: int) -> None:
        """One more, by this one."""
        self._rounds[index] += 1
        if min(self._rounds) > self._told:
            self._told += 1
            sys.stdout.write(f"{time.time()}\n")
            sys.stdout.flush()


async def bare(url: str, index: int, subject: str, last: Last) -> None:
    """A subscriber on a connection of its own."""
    nc = await nats.connect(url)

    async def on_message(_: object) -> None:
        last.heard(index)

    await nc.subscribe(subject, cb=on_message)
    await nc.flush()


async def guard(url: str, index: int, name: str, key: tuple[str, bytes], last: Last) -> None:
    """An enforcement point's view, acknowledging, on a connection of its own."""
    prefix = f"_INBOX.{name}"
    nc = await nats.connect(url, nkeys_seed_str=KeyPair("U").seed, token=f"point {name}", inbox_prefix=prefix, connect_timeout=20)

    async def acknowledge(counter: int, epoch: int) -> None:
        body = event("org.weft.point.acked.v1", {"n": counter, "epoch": epoch, "at": time.time()}, source="/bench")
        await nc.publish(f"weft.ack.{name}", body, headers=HEADERS)

    follower = RevocationFollower(
        nc, dict([key]).get, on_entry=partial(last.heard, index), on_unknown_key=lambda: None, send_ack=acknowledge
    )
    await follower.start()


async def main(url: str, count: int, kind: str, *rest: str) -> None:
    """Until it is killed."""
    last = Last(count)
    for index in range(count):
        if kind == "bare":
            await bare(url, index, rest[0], last)
        else:
            number = int(rest[2]) + index
            instance = "i" + "".join("abcdefghijklmnopqrstuvwxyz234567"[number >> 5 * digit & 31] for digit in range(26))
            await guard(url, index, f"{instance}.88mph~com.tools.bench", (rest[0], bytes.fromhex(rest[1])), last)
    print("ready", flush=True)
    await asyncio.Event().wait()


uvloop.run(main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:]))
