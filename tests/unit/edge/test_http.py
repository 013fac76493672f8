"""Verifies the edge's routes, limits and headers, without a network."""

from ipaddress import ip_network

import httpx
import jsonschema
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from config.limits import EdgeLimits
from schemas.keys import JWKSet
from workers.common import addresses
from workers.common.buckets import Buckets
from workers.edge.faces import jwks, status
from workers.edge.http import application
from workers.edge.keys import Keys, KeysUnavailable
from workers.edge.openapi import DOCUMENT
from workers.edge.readiness import EXPECTED, Readiness

KEY = {"kty": "EC", "crv": "P-256", "x": "a", "y": "b", "kid": "k1", "use": "sig", "alg": "ES256"}


class Bus:
    def __init__(self):
        self.answers = []
        self.found = JWKSet(keys=(KEY,), facts_revision=3)

    async def health(self, workers, deadline_s):
        return self.answers

    async def keys(self, purpose="tokens"):
        if self.found is None:
            raise KeysUnavailable("TimeoutError")
        return self.found


def edge(bus, *more, bodies=None):
    return application([*status.routes(Readiness(bus)), *jwks.routes(Keys(bus)), *more], bodies)


@pytest.fixture
def bus():
    return Bus()


@pytest.fixture
async def client(bus):
    transport = httpx.ASGITransport(edge(bus))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        yield http


def schema_of(path, status):
    content = DOCUMENT["paths"][path]["get"]["responses"][str(status)]["content"]
    return next(iter(content.values()))["schema"]


async def test_alive(client):
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"alive": True})
    assert answer.headers["cache-control"] == "no-store"


async def test_silence_is_503_and_names_who_is_silent(client):
    answer = await client.get("/readyz")
    assert answer.status_code == 503
    assert [line["worker"] for line in answer.json()["workers"]] == list(EXPECTED)
    jsonschema.validate(answer.json(), schema_of("/readyz", 503))


async def test_the_keys_are_public_members_alone(client, bus):
    """INVARIANT: whatever the bus answers, no private member of a key leaves the edge.

    Serving the answer as it came would break it: one mistake elsewhere would publish the key that signs every token.
    """
    bus.found = JWKSet(keys=({**KEY, "d": "SECRET", "k": "SECRET", "p": "SECRET"},), facts_revision=3)
    answer = await client.get("/.well-known/jwks.json")
    assert answer.json() == {"keys": [KEY]}
    assert "SECRET" not in answer.text
    assert answer.headers["content-type"] == "application/jwk-set+json"


async def test_an_unchanged_document_is_not_sent_again(client):
    first = await client.get("/.well-known/jwks.json")
    again = await client.get("/.well-known/jwks.json", headers={"if-none-match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    other = await client.get("/.well-known/jwks.json", headers={"if-none-match": '"other"'})
    assert other.status_code == 200


async def test_keys_that_nobody_told_are_not_served(client, bus):
    bus.found = None
    answer = await client.get("/.well-known/jwks.json")
    assert (answer.status_code, answer.json()) == (503, {"error": "unavailable"})


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/", {}, 404),
        ("POST", "/readyz", {}, 405),
        ("GET", "/readyz", {"content": b"x" * 10}, 413),
        ("POST", "/healthz", {"content": b"x"}, 413),
        ("GET", "/healthz", {"headers": {"transfer-encoding": "chunked"}}, 413),
        ("GET", "/..%2f..%2fetc/passwd", {}, 404),
    ],
)
async def test_what_it_does_not_serve(client, method, path, options, status):
    answer = await client.request(method, path, **options)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("path", "sent", "status"),
    [
        ("/forms", b"x" * 8, 200),
        ("/forms", b"x" * 9, 413),
        ("/forms/deep", b"x" * 9, 200),
        ("/forms/deep", b"x" * 17, 413),
        ("/formsother", b"x", 413),
        ("/healthz", b"x", 413),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_is_as_long_as_its_route_takes(bus, path, sent, status, chunked):
    """The longest prefix counts, and a body whose length is not declared is counted as it comes."""

    async def length(request):
        return PlainTextResponse(str(len(await request.body())))

    async def chunks():
        yield sent[:1]
        yield sent[1:]

    routes = [Route(route, length, methods=["POST"]) for route in ("/forms", "/forms/deep", "/formsother")]
    transport = httpx.ASGITransport(edge(bus, *routes, bodies={"/forms": 8, "/forms/deep": 16}))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        answer = await http.post(path, content=chunks() if chunked else sent)
    assert answer.status_code == status
    if status == 200:
        assert answer.text == str(len(sent))


async def test_a_bug_is_a_plain_500(bus):
    async def broken(workers, deadline_s):
        raise ValueError("SECRET")

    bus.health = broken
    transport = httpx.ASGITransport(edge(bus), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal"})


def limited(now, *, proxies=(), **figures):
    """An edge with these limits and this clock."""
    return application(status.routes(Readiness(Bus())), None, EdgeLimits(**figures), proxies, lambda: now[0])


async def asked(app, address="192.0.2.1", *forwarded):
    transport = httpx.ASGITransport(app, client=(address, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://edge") as http:
        answer = await http.get("/healthz", headers=[("x-forwarded-for", line) for line in forwarded])
    return answer.status_code, answer.headers.get("retry-after")


async def test_one_address_that_floods_is_told_so_and_when_to_come_again():
    """INVARIANT: one address has its burst and its rate, as the settings say, and takes nothing of another's.

    Broken by one bucket for all, or by a limit that no setting reaches.
    """
    now = [0.0]
    app = limited(now, rate_per_s=0.25, burst=3)
    assert [await asked(app) for _ in range(4)] == [(200, None)] * 3 + [(429, "4")]
    assert await asked(app, "192.0.2.2") == (200, None)
    now[0] += 3.5
    assert await asked(app) == (429, "1")
    now[0] += 0.5
    assert [await asked(app) for _ in range(2)] == [(200, None), (429, "4")]


async def test_a_site_is_one_caller():
    """One host of IPv6 has 2^64 addresses; one of IPv4 may come mapped into IPv6."""
    app = limited([0.0], rate_per_s=0.1, burst=1)
    assert (await asked(app, "2001:db8:1:2::1"))[0] == 200
    assert (await asked(app, "2001:db8:1:2:ffff::9"))[0] == 429
    assert (await asked(app, "2001:db8:1:3::1"))[0] == 200
    assert (await asked(app, "192.0.2.1"))[0] == 200
    assert (await asked(app, "::ffff:192.0.2.1"))[0] == 429


@pytest.mark.parametrize(
    ("peer", "forwarded", "caller"),
    [
        ("192.0.2.1", ["203.0.113.5"], "192.0.2.1"),  # whoever connects may write anything
        ("10.0.0.1", ["203.0.113.5"], "203.0.113.5"),
        ("10.0.0.1", ["198.51.100.7, 203.0.113.5"], "203.0.113.5"),  # what the proxy appended, not what it was sent
        ("10.0.0.1", ["198.51.100.7", "203.0.113.5, 10.0.0.2"], "203.0.113.5"),  # two proxies, two headers
        ("10.0.0.1", ["203.0.113.5, 10.0.0.1, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["203.0.113.5, 10.0.0.2:4711"], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["2001:db8::5"], "2001:db8::5"),
        ("-", ["203.0.113.5"], "-"),
    ],
)
async def test_whose_request_a_proxy_passes_on(peer, forwarded, caller):
    """INVARIANT: X-Forwarded-For is believed from trusted proxies, from its end, and from nobody else.

    Otherwise whoever writes the header is a new caller with every request, and can spend another's share.
    """
    networks = [ip_network(text) for text in ("10.0.0.0/24",)]
    assert addresses.origin(peer, forwarded, networks) == caller
    app = limited([0.0], proxies=("10.0.0.0/24",), rate_per_s=0.1, burst=1)
    assert (await asked(app, peer, *forwarded))[0] == 200
    assert (await asked(app, caller))[0] == 429, "they are one"


def test_buckets_are_per_address_and_bounded():
    now = [0.0]
    buckets = Buckets(50.0, 100.0, lambda: now[0])
    assert all(buckets.take("a") for _ in range(100))
    assert not buckets.take("a")
    assert buckets.take("b")
    now[0] += 1
    assert buckets.take("a")
    for number in range(10_000):
        buckets.take(str(number))
    assert len(buckets._buckets) <= 4096


def test_the_document_is_openapi():
    assert DOCUMENT["openapi"].startswith("3.1")
    for path, item in DOCUMENT["paths"].items():
        assert all(operation["operationId"] for method, operation in item.items() if method != "parameters"), path
