"""HTTP to addresses that others chose: transmitters, receivers, metadata documents, authorization servers, upstreams of tools.

Whoever names a URL must not be able to make the fabric call what only the fabric can reach (server-side request forgery): `rules` says
which URL and which address may be called, and `client` connects to the very address that was checked.
"""

from workers.common.outbound.client import Answer, Outbound, OutboundFailed, Streamed
from workers.common.outbound.rules import OutboundRefused, Rules

__all__ = ["Answer", "Outbound", "OutboundFailed", "OutboundRefused", "Rules", "Streamed"]
