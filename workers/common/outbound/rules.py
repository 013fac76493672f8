"""Which URL may be called, and which address a name may stand for.  Pure.

1. https alone; http only to a loopback address that the settings allow.
2. No user information and no fragment (draft-ietf-oauth-client-id-metadata-document section 3), a host, port 443 or one above 1023.
3. The address is global (IANA special-purpose registries, as `ipaddress` knows them), no multicast, none that carries an IPv4 address in
   itself; except what the settings allow by name (`outbound_private`, for each use its own).

A name counts as its worst address: where one of several is not allowed, none is called.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

MAX_URL_CHARS = 2048
HTTPS_PORT = 443
FIRST_USER_PORT = 1024
_EMBEDDING = tuple(
    ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)  # RFC 6052, 3056, 4380


class OutboundRefused(Exception):
    """Nothing was sent.  The text says which rule and repeats nothing of the URL."""


@dataclass(frozen=True, slots=True)
class Rules:
    """`private`: networks that may be called though they are not global."""

    private: tuple[Network, ...] = ()

    @classmethod
    def of(cls, networks: Iterable[str]) -> Rules:
        """From text in CIDR form.  Raises ValueError."""
        return cls(tuple(ip_network(text) for text in networks))

    def check_url(self, url: str) -> SplitResult:
        """The parts of a URL that may be called as far as one sees without resolving it.  Raises OutboundRefused."""
        parts, port = _split(url)
        if parts.scheme not in {"https", "http"} or not parts.hostname:
            raise OutboundRefused("not an https URL with a host")
        if parts.username is not None or parts.password is not None:
            raise OutboundRefused("user information in the URL")
        if "#" in url:
            raise OutboundRefused("a fragment in the URL")
        literal = _literal(parts.hostname)
        if literal is not None:
            self.check_address(literal)
        allowed = literal is not None and self._allows_private(literal)
        if parts.scheme == "http" and not (allowed and literal is not None and literal.is_loopback):
            raise OutboundRefused("http is for allowed loopback addresses alone")
        if port not in {None, HTTPS_PORT} and int(port or 0) < FIRST_USER_PORT:
            raise OutboundRefused("a port below 1024 other than 443")
        return parts

    def check_address(self, address: Address) -> None:
        """Raises OutboundRefused where this address may not be called."""
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if self._allows_private(address):
            return
        if not address.is_global or address.is_multicast or any(address in network for network in _EMBEDDING):
            raise OutboundRefused("the address is not a global one")

    def _allows_private(self, address: Address) -> bool:
        return any(address in network for network in self.private)


def _split(url: str) -> tuple[SplitResult, int | None]:
    if len(url) > MAX_URL_CHARS or not url.isascii() or any(char <= " " or char in '"<>\\^`{|}' for char in url):
        raise OutboundRefused("not a URL of printable ASCII characters, or too long")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise OutboundRefused("not a URL") from None
    return parts, port


def _literal(host: str) -> Address | None:
    """The address where the host is one.  Any other all-numeric form (`2130706433`, `0x7f.1`) is refused, resolvers disagree about it."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    last = host.rstrip(".").rpartition(".")[2]
    if last.isdigit() or last.lower().startswith("0x"):
        raise OutboundRefused("a number as a host")
    return None
