"""The public keys of the fabric's tokens, as the edge asks for them on `weft.edge.keys` (the registry answers from FACTS)."""

from __future__ import annotations

from typing import Any

from schemas.base import Sequence, Wire

ASKED = "org.weft.keys.asked.v1"
ANSWERED = "org.weft.keys.answered.v1"


class KeysAsked(Wire):
    """`data` of `ASKED`."""


class JWKSet(Wire):
    """`data` of `ANSWERED`: RFC 7517 section 5, of every token key that is active, or retired while its last token may still live."""

    keys: tuple[dict[str, Any], ...]
    facts_revision: Sequence
