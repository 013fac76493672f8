"""What goes to an upstream and what comes back, as tables."""

from __future__ import annotations

import pytest

from schemas.egress import Egress, Injection
from workers.egress.exchange import NotPlain, check_plain, returned_headers, sent_headers, url_of

ROUTES = [{"method": "GET", "path": "/*", "actions": ["read"]}]
SECRET = "sk-live-1234"


def egress(**inject) -> Egress:
    plain = {
        "upstream": "https://api.example/v1/",
        "credential": "c",
        "routes": ROUTES,
        "inject": inject,
        "request_headers": ["X-Mine", "Host", "Cookie"],
    }
    return Egress.model_validate(plain, strict=False)


@pytest.mark.parametrize(
    ("inject", "header", "query"),
    [
        ({}, ("authorization", "Bearer sk-live-1234"), None),
        ({"by": "header", "name": "X-Api-Key"}, ("x-api-key", "sk-live-1234"), None),
        ({"by": "header", "name": "X-Api-Key", "prefix": "Token "}, ("x-api-key", "Token sk-live-1234"), None),
        ({"by": "basic", "user": "weft"}, ("authorization", "Basic d2VmdDpzay1saXZlLTEyMzQ="), None),
        ({"by": "query", "name": "key"}, None, "key=sk-live-1234"),
        ({"by": "query", "name": "a&b#c"}, None, "a%26b%23c=sk-live-1234"),  # one parameter, as the check of the caller's query reads it
    ],
)
def test_where_the_credential_goes(inject, header, query):
    made = egress(**inject)
    headers = sent_headers(made, [], SECRET)
    assert headers == ([header] if header else [])
    assert url_of(made, "/a/b", "x=1", SECRET) == "https://api.example/v1/a/b?x=1" + (f"&{query}" if query else "")
    assert url_of(made, "/a", "", SECRET) == "https://api.example/v1/a" + (f"?{query}" if query else "")


def test_only_harmless_headers_go_on_and_never_the_token():
    """INVARIANT: the upstream sees neither the call's token nor a header that could change what was granted.

    Passing on what the caller sent would break it: `Txn-Token`, `X-HTTP-Method-Override`, `X-Original-URL`, a second `Authorization`.
    """
    sent = {
        "Txn-Token": "t", "DPoP": "p", "Authorization": "Bearer x", "Cookie": "c", "Host": "evil", "Connection": "x-mine",
        "Range": "bytes=0-9",
        "X-HTTP-Method-Override": "DELETE", "X-Original-URL": "/admin", "Forwarded": "for=x",
        "X-Forwarded-For": "x", "TE": "trailers",
        "Accept-Encoding": "gzip", "Proxy-Authorization": "x", "Expect": "100-continue", "Content-Length": "9",
        "Transfer-Encoding": "chunked",
        "Accept": "application/json", "Content-Type": "text/plain", "X-Mine": "yes", "X-Other": "no",
    }  # fmt: skip
    raw = [(name.encode(), value.encode()) for name, value in sent.items()]
    assert sent_headers(egress(by="header", name="X-Key"), raw, SECRET) == [
        ("accept", "application/json"), ("content-type", "text/plain"), ("x-mine", "yes"), ("x-key", SECRET),
    ]  # fmt: skip
    twice = sent_headers(egress(by="header", name="X-Mine"), raw, SECRET)
    assert [value for name, value in twice if name == "x-mine"] == [SECRET]


def test_what_comes_back_is_no_session_and_no_word_of_ours():
    answer = [
        ("content-type", "application/json"), ("set-cookie", "session=1"), ("weft-outcome", "positive"), ("weft-record", "7"),
        ("connection", "close, x-hop"), ("x-hop", "1"), ("content-length", "3"), ("www-authenticate", "Basic"), ("etag", "e"),
        ("content-encoding", "gzip"), ("strict-transport-security", "max-age=1"), ("transfer-encoding", "chunked"),
    ]  # fmt: skip
    assert returned_headers(answer, decoded=False) == [("content-type", "application/json"), ("content-length", "3"), ("etag", "e")]
    assert returned_headers(answer, decoded=True) == [("content-type", "application/json"), ("etag", "e")]


@pytest.mark.parametrize("path", ["/t/a", "/t/a/b.c", "/t/a%20b", "/t/caf%C3%A9", "/t/x;y=1", "/t/..a", "/t/v1.", "/t/a@b:c", "/t/"])
def test_plain_paths(path):
    check_plain(path, "q=1&r=%20", Injection())


@pytest.mark.parametrize(
    "path",
    [
        "", "t", "/t/..", "/t/../admin", "/t/%2e%2e/admin", "/t/.%2E/x", "/t/./x", "/t//x", "/t/a%2fb", "/t/a%5Cb", "/t/a\\b",
        "/t/%252e%252e", "/t/%00", "/t/a%0d%0ab", "/t/%", "/t/%zz", "/t/a b", "/t/a#b", "/t/a?b", "/t/é",
        "/t/..;/admin", "/t/..;a=1/admin", "/t/%2e%2e;/admin", "/t/..%3B/admin", "/t/.;/x", "/t/;/x", "/t/;a=1", "/t/..%20/admin",
        "/t/%20/x", "/t/.../x", "/t/%C0%AE%C0%AE/admin", "/t/a%C0%AFb", "/t/%E9",
    ],
)  # fmt: skip
def test_paths_that_two_servers_could_read_differently(path):
    """INVARIANT: what was granted is what the upstream is asked: no path that a second parser could take for another.

    Matching routes on the decoded path and forwarding the raw one would break it; so would `..;`, which a servlet container takes for
    the folder above once the route has matched.
    """
    with pytest.raises(NotPlain):
        check_plain(path, "", Injection())


@pytest.mark.parametrize("query", ["key=mine", "a=1&KEY=mine", "a=1;key=x", "k%65y=x", "key"])
def test_a_second_credential_in_the_query_is_refused(query):
    with pytest.raises(NotPlain):
        check_plain("/t/a", query, Injection(by="query", name="key"))
    check_plain("/t/a", "keys=1", Injection(by="query", name="key"))


def test_a_header_that_would_split_the_request_is_no_query():
    for query in ("a=1\r\nx: y", "a=%zz", "a= b", "a=#x"):
        with pytest.raises(NotPlain):
            check_plain("/t/a", query, Injection())
