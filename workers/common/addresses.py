"""Who is at the other end, for limits: one caller, one name.  Pure."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Networks = Sequence[IPv4Network | IPv6Network]
IPV6_PREFIX = 64  # what one site has to itself (RFC 4291 section 2.5.4, RFC 6177): every address of it would be a new caller
MAX_HOPS = 16


def name_of(address: str) -> str:
    """The caller behind an address: itself, of IPv6 the /64 around it.  What is no address is its own name."""
    found = _parsed(address)
    if found is None:
        return address[:64]
    if isinstance(found, IPv6Address):
        return str(ip_network((found, IPV6_PREFIX), strict=False))
    return str(found)


def origin(peer: str, forwarded: Sequence[str], proxies: Networks) -> str:
    """Where a request came from: the connection's address, or where that is a trusted proxy's the nearest of X-Forwarded-For that is none.

    The header is read from its end: each trusted proxy appended whom it heard from, and what stands further left anybody may have
    written.  One that cannot be read there says nothing, and the caller is the last proxy that was believed.
    """
    believed = peer
    hops = [hop.strip() for line in forwarded for hop in line.split(",")][-MAX_HOPS:]
    while trusted(believed, proxies) and hops:
        found = _parsed(hops.pop())
        if found is None:
            break
        believed = str(found)
    return believed


def trusted(address: str, proxies: Networks) -> bool:
    """Whether that is the address of a proxy of ours."""
    found = _parsed(address)
    return found is not None and any(found in network for network in proxies)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """IPv4 also where it comes mapped into IPv6 (RFC 4291 section 2.5.5.2), as on a socket for both."""
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(found, IPv6Address) and found.ipv4_mapped) or found
