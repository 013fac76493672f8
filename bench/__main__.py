"""`python -m bench`: every path beside the bare bus, a table, and `bench/latest.json`.  Under five minutes."""

from __future__ import annotations

import asyncio

import uvloop

from bench import cold, counts, egress, fanout, guard, invocation, minting, oauth, revocation, signalling
from bench.figures import publish


async def main() -> None:
    """Everything, in one run."""
    alone = [*guard.figures(), *await minting.figures(), *await cold.figures()]
    publish(
        [
            *alone,
            *await revocation.figures(),
            *await fanout.figures(),
            *await signalling.figures(),
            *await invocation.figures(),
            *await oauth.figures(),
            *await egress.figures(),
            *await counts.figures(),
        ]
    )


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main())
