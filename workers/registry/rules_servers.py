"""Rules for authorization servers that are not ours, and for tools whose tokens they issue.  Pure."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from schemas.commands import Change
from schemas.facts import AuthorizationServer, Kind, Tool
from workers.common.decision.patterns import matches
from workers.common.shown import may_be_shown, origin
from workers.registry.prospect import Prospect
from workers.registry.rules import Fabric, Problems, check_patterns, invalid


def authorization_server(change: Change, body: AuthorizationServer, prospect: Prospect, _: Fabric) -> Problems:
    """It can be asked, for something, by one way to prove who asks; and tools that rely on it still can."""
    if "?" in body.issuer or "#" in body.issuer:
        yield invalid(change, "issuer holds a query or a fragment (RFC 8414 section 2)")
    if not body.grants or not body.resources:
        yield invalid(change, "grants or resources is empty: it could never be asked")
    if body.exchanges == "access_token" and not {"token_exchange", "jwt_bearer"} <= set(body.grants):
        yield invalid(
            change, "exchanges: access_token is for a server that is asked by token_exchange and, for the token to exchange, by jwt_bearer"
        )
    if (body.auth == "tls_client_auth") != (body.certificate is not None):
        yield invalid(change, "tls_client_auth and certificate belong together")
    if body.token_endpoint is None and body.revocation_endpoint is not None:
        yield invalid(change, "endpoints are pinned together, or both are read from its metadata")
    if body.revocable and body.token_endpoint is not None and body.revocation_endpoint is None:
        yield invalid(change, "revocable needs a revocation_endpoint (RFC 7009)")
    yield from check_patterns(change, "scopes", body.scopes)
    yield from _other_origins(change, body)
    for tool in prospect.tools():
        if tool.obtain is not None and tool.obtain.server == body.name:
            yield from (invalid(change, f"{tool.name}: {fault}") for fault in _faults(tool, body))


def _other_origins(change: Change, body: AuthorizationServer) -> Problems:
    """Each is of a resource that is asked for, an origin and nothing more, and no token crosses a network in clear."""
    for resource, origins in body.also_at.items():
        if resource not in body.resources:
            yield invalid(change, f"also_at names {resource}, which resources does not")
        for url in origins:
            parts = urlsplit(url)
            if origin(url) is None or parts.path.strip("/") or parts.query or parts.fragment:
                yield invalid(change, f"also_at: {url} is no origin (https://host or https://host:port)")
            elif parts.scheme != "https" and not _loopback(parts.hostname or ""):
                yield invalid(change, f"also_at: {url} is not https")


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def obtained(change: Change, body: Tool, prospect: Prospect) -> Problems:
    """Whom the tool's tokens come from may issue them; and one that Weft could not take back never reaches an agent."""
    yield from _shown_by_the_egress(change, body)
    if body.obtain is None:
        if body.token_form == "external":
            yield invalid(change, "an external token needs obtain: where it comes from")
        return
    if body.token_form != "external" and body.egress is None:
        yield invalid(change, "obtain is for tools that take external tokens, or stand behind the egress")
    server = prospect.after(Kind.AUTHORIZATION_SERVER, body.obtain.server)
    if not isinstance(server, AuthorizationServer):
        yield invalid(change, f"obtain names {body.obtain.server}, which is no authorization server here")
        return
    yield from (invalid(change, fault) for fault in _faults(body, server))


def _shown_by_the_egress(change: Change, body: Tool) -> Problems:
    """One credential; `_faults` and the vault say for which host."""
    if body.egress is None:
        return
    if (body.egress.credential is None) == (body.obtain is None):
        yield invalid(change, "the egress shows one thing: egress.credential, or a token by obtain")


def servers_relied_upon(prospect: Prospect) -> Problems:
    """A server that a tool's tokens come from stays."""
    gone = [change for change in prospect.changes.values() if change.kind is Kind.AUTHORIZATION_SERVER and change.body is None]
    for change in gone:
        for tool in prospect.tools():
            if tool.obtain is not None and tool.obtain.server == change.key:
                yield invalid(change, f"{tool.name} obtains its tokens there")


def _faults(tool: Tool, server: AuthorizationServer) -> list[str]:
    wanted = tool.obtain
    if wanted is None:
        return []
    faults = [] if wanted.by in server.grants else [f"{server.name} is not asked by {wanted.by}"]
    faults += [] if tool.resource in server.resources else [f"{server.name} issues nothing for {tool.resource}"]
    faults += [f"{server.name} is not asked for the scope {scope}" for scope in wanted.scopes if not matches(server.scopes, scope)]
    where, url = ("endpoint", tool.endpoint) if tool.egress is None else ("egress.upstream", tool.egress.upstream)
    if tool.state == "active" and not may_be_shown(server, tool.resource, url):
        faults.append(
            f"{where} is at another origin than the resource {tool.resource}: its token would be shown to somebody else "
            f"(the owner of {server.name} may list that origin in also_at)"
        )
    if tool.token_form == "external" and not server.revocable:
        faults.append(f"tokens of {server.name} cannot be revoked, so none may reach an agent")
    return faults
