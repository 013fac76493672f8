"""The edge's OpenAPI document against the running edge: schemathesis sends what it allows and what it does not, for a bounded time.

Whatever comes, no answer is a 5xx but the documented 503, every body is of its schema, and the next good request is served.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import httpx
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.support.oauth_fabric import UNLIMITED, Clients, fabric
from workers.edge.openapi import DOCUMENT

EXAMPLES = 40  # of each operation, right and wrong: some 280 requests
PATHS = r"^/(oauth/|\.well-known/oauth)"
CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)


def fuzz(base_url: str) -> int:
    """Every operation of the face, with and without what the document asks for; how many requests were sent."""
    schema = schemathesis.openapi.from_dict(json.loads(json.dumps(DOCUMENT))).include(path_regex=PATHS)
    sent = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=EXAMPLES, deadline=None, database=None, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
            )
            def one(case: Any) -> None:
                nonlocal sent
                sent += 1
                case.call_and_validate(base_url=base_url, checks=list(CHECKS), timeout=10)

            with suppress(Unsatisfiable):  # an operation without parameters has no wrong ones
                one()
    return sent


async def test_the_face_answers_whatever_is_sent(fabric_server: Any) -> None:
    """INVARIANT: no request, however made, ends in an answer that the document does not name (promise 7).

    Broken by an exception that a parser lets through, or by a field that only good clients send.
    """
    async with fabric(fabric_server, **UNLIMITED) as (clients, http, _):
        sent = await asyncio.to_thread(fuzz, clients.settings.issuer)
        assert sent > 4 * EXAMPLES
        assert await _good(clients, http)


async def _good(clients: Clients, http: httpx.AsyncClient) -> bool:
    answer = await http.post("/oauth/token", data={"grant_type": "client_credentials", **clients.proven()})
    return answer.status_code == 200
