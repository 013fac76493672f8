"""A bare writer in a process of its own: `bare_writer.py URL SUBJECT BYTES`; a line on stdin is a commit, answered with its time."""

import asyncio
import sys
import time

import nats
import uvloop


async def main(url: str, subject: str, size: int) -> None:
    """Until stdin ends."""
    nc = await nats.connect(url)
    js = nc.jetstream()
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.readline():
        await js.publish(subject, b"x" * size)
        sys.stdout.write(f"{time.time()}\n")
        sys.stdout.flush()
    await nc.close()


uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
