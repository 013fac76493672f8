"""RFC 9728: protected resource metadata of tools, resolved and accepted as clients' documents are."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.cimd import ResolvedTool
from schemas.facts import Tool
from tests.support import world
from tests.support.facts import body as fact_body
from tests.support.hotpath import FixedClock
from tests.support.oauth import ISSUER
from tests.support.web import Web
from workers.cli.cimd import accepted_tool
from workers.registry.cimd.document import DocumentRefused
from workers.registry.cimd.resolver import MIN_FRESH_S, Resolver, Watcher, watched
from workers.registry.cimd.resource import metadata_url

AT = "https://web-search.88mph.com/.well-known/oauth-protected-resource"


def tool(**changes: Any) -> Tool:
    made = fact_body({**world.bodies()["web-search"], **changes})
    assert isinstance(made, Tool)
    return made


def document(**changes: Any) -> dict[str, Any]:
    good = {"resource": "https://web-search.88mph.com", "authorization_servers": [ISSUER], "resource_name": "Search"}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


async def resolve(web: Web, held: Tool | None = None) -> ResolvedTool:
    return await Resolver(web, lambda _: None, ISSUER).resolve_tool(held or tool())


@pytest.mark.parametrize(
    ("resource", "url"),
    [
        ("https://a.example", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource"),
        ("https://a.example:8443/mcp/one", "https://a.example:8443/.well-known/oauth-protected-resource/mcp/one"),
        ("https://a.example/mcp?x=1", "https://a.example/.well-known/oauth-protected-resource/mcp?x=1"),
    ],
)
def test_3_1_where_the_document_stands(resource: str, url: str) -> None:
    assert metadata_url(resource) == url


@pytest.mark.parametrize("resource", ["http://a.example", "https://user@a.example", "https://a.example/#f"])
def test_3_1_where_none_can_stand(resource: str) -> None:
    with pytest.raises(DocumentRefused):
        metadata_url(resource)


async def test_2_what_it_says(web: Web) -> None:
    web.put(AT, document(dpop_bound_access_tokens_required=True, authorization_details_types_supported=["urn:search"]))
    found = await resolve(web)
    assert (found.name, found.proof, found.authorization_details) == ("Search", "dpop", ("urn:search",))
    assert (found.fresh_s, found.accepted) == (MIN_FRESH_S, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"resource": "https://web-search.88mph.com/"}, "not the one"),
        ({"resource": "https://other.example"}, "not the one"),
        ({"resource": None}, "not the one"),
        ({"authorization_servers": ["https://other"]}, "no tokens of"),
        ({"authorization_servers": ISSUER}, "no tokens of"),
        ({"resource_name": 1}, "not text"),
        ({"authorization_details_types_supported": "x"}, "not a list"),
    ],
)
async def test_3_3_what_is_not_used(web: Web, changes: dict[str, Any], words: str) -> None:
    web.put(AT, document(**changes))
    with pytest.raises(DocumentRefused, match=words):
        await resolve(web)


async def test_accepting_asks_for_more_and_never_for_less(web: Web) -> None:
    """INVARIANT: a document can make a tool's record stricter; what the registrar asked for stays.

    Dropping the proof because a document no longer mentions it would hand the choice to whoever holds the host.
    """
    web.put(AT, document(dpop_bound_access_tokens_required=True))
    stricter = accepted_tool(await resolve(web), tool().plain())
    assert stricter.proof == "dpop"
    web.put(AT, document())
    again = accepted_tool(await resolve(web, stricter), stricter.plain())
    assert again.proof == "dpop"
    assert again.document not in (None, stricter.document)
    assert (again.endpoint, again.actions, again.workload) == (tool().endpoint, tool().actions, tool().workload)


async def test_a_changed_document_is_told_once(web: Web) -> None:
    web.put(AT, document())
    held = tool(document=(await resolve(web)).document)
    told: list[str] = []

    async def changed(about: str, _: Any) -> None:
        told.append(about)

    clock, resolver = FixedClock(), Resolver(web, lambda _: None, ISSUER)
    watcher = Watcher(lambda: watched(resolver, [], [held, tool()]), changed, clock)
    await watcher.look()
    web.put(AT, document(resource_name="Other"))
    for _ in range(2):
        clock.at += MIN_FRESH_S
        await watcher.look()
    assert told == ["tool/web-search"]
