"""How much one caller may ask.  Every figure is bounded: a typing mistake must not switch a limit off."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Limits(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Limits):
    """What one caller may ask of the gateway, by its connection's name.

    An agent asks once per inference step, a few times a second at most: two hundred is far above that.  The burst is one large plan
    fanned out at once.  With 64 in flight a caller already waits for the fabric, and not the fabric for it.
    """

    rate_per_s: float = Field(default=200.0, gt=0)
    burst: int = Field(default=1000, ge=1)
    in_flight: int = Field(default=64, ge=1)


class Rate(_Limits):
    """`burst` at once, `rate_per_s` in the long run."""

    rate_per_s: float = Field(default=50.0, ge=0.1, le=100_000)
    burst: int = Field(default=100, ge=1, le=1_000_000)


class EdgeLimits(Rate):
    """What one address (of IPv6 one /64) may do at one copy of the edge, and how many connections that copy serves at once.

    A connection that has sent no request for ten seconds is ended in any case, and the one that has waited longest makes room when all
    are taken.
    """

    connections: int = Field(default=256, ge=8, le=16_384)
    connections_each: int = Field(default=64, ge=1, le=16_384)  # of one address; of a trusted proxy as many as there are

    @model_validator(mode="after")
    def _one_of_all(self) -> Self:
        if self.connections_each > self.connections:
            raise ValueError("connections_each: one address has no more than all, connections")
        return self


class OAuthLimits(_Limits):
    """What one client may ask of one copy of the broker, endpoint by endpoint, whatever it authenticates with; and one address of the edge.

    A client is its id and the workload that it is: two clients of one workload, one by certificate and one by JWT say, share.
    """

    token: Rate = Rate()
    introspect: Rate = Rate()
    revoke: Rate = Rate()
    address: Rate = Rate()  # of one address, all three endpoints together, counted before anything is verified
    in_flight: int = Field(default=512, ge=1, le=65_536)  # of one copy of the broker; beyond it 503
