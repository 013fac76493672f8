"""The public keys of tokens and of status lists, as the edge asks for them on `weft.edge.keys` (the registry answers from FACTS)."""

from __future__ import annotations

from typing import Any, Literal

from schemas.base import Sequence, Wire

ASKED = "org.weft.keys.asked.v1"
ANSWERED = "org.weft.keys.answered.v1"


class KeysAsked(Wire):
    """`data` of `ASKED`."""

    purpose: Literal["tokens", "status", "clients"] = "tokens"  # clients: the certificates that they registered (RFC 8705 section 2.2)


class JWKSet(Wire):
    """`data` of `ANSWERED`: RFC 7517 section 5, of every active key of that purpose."""

    keys: tuple[dict[str, Any], ...]
    facts_revision: Sequence
