"""What every wire object shares: strict, frozen models and the names of the field as types."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from weft.spiffeid import MAX_REGISTERED_BYTES, SpiffeID


class Wire(BaseModel):
    """Frozen, strict, closed; an error text never quotes the input (it may hold a token)."""

    model_config = ConfigDict(
        frozen=True, strict=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True, ser_json_bytes="base64"
    )

    def wire(self) -> bytes:
        """As JSON bytes, absent members left out."""
        return self.__pydantic_serializer__.to_json(self, exclude_none=True, by_alias=True)

    def plain(self) -> dict[str, Any]:
        """As plain data, absent members left out."""
        return self.model_dump(mode="json", exclude_none=True, by_alias=True)


@lru_cache(maxsize=65_536)  # the same few identities stand in every message
def _spiffe_id(text: str) -> str:
    parsed = SpiffeID.parse(text)
    if len(text.encode()) > MAX_REGISTERED_BYTES:
        raise ValueError(f"longer than {MAX_REGISTERED_BYTES} bytes")
    return str(parsed)


SpiffeIDText = Annotated[str, AfterValidator(_spiffe_id)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]  # tools, namespaces' owners, kinds
Code = Annotated[str, StringConstraints(pattern=r"^[a-z*][a-z0-9._:*-]{0,63}$")]  # actions and purposes; `*` only in patterns
Digest = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]  # SHA-256, base64url
TargetDigest = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22}$")]  # weft.digest.target_digest
InstanceID = Annotated[str, StringConstraints(pattern=r"^[ik][a-z2-7]{26}$")]  # i: attested by the issuer; k: from the key
Opaque = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,128}$")]  # ids that others chose
Seconds = Annotated[int, Field(ge=0, le=4_102_444_800)]  # since the epoch
Ttl = Annotated[int, Field(gt=0, le=86_400)]  # seconds
Sequence = Annotated[int, Field(ge=0)]  # of a JetStream stream
Compact = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*$", max_length=16_384)]  # a JWS
FreeText = Annotated[str, StringConstraints(max_length=512)]
