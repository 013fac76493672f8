"""`python -m bench`: every path beside the bare bus, a table, and `bench/latest.json`.  Under five minutes."""

import asyncio

from bench import invocation
from bench.figures import publish

publish(asyncio.run(invocation.figures()))
