"""How we are authorized at a transmitter: a token that was given to us, or one of its authorization server's.

RFC 6749 section 4.4 with the client authentication of RFC 6749 section 2.3.1 or RFC 7523 section 2.2; kept until shortly before it expires,
and asked for anew when the transmitter says that it does not count any more.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from secrets import token_hex
from typing import Any
from urllib.parse import quote_plus, urlencode

from schemas.facts import Subscription
from schemas.fetching import Fetch
from schemas.receiving import ClientCredentials, StaticToken
from workers.common.clock import Clock
from workers.common.fetching import FetchUnavailable
from workers.signals.transmitter.ports import Fetches

ASSERTION = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_S = 60
EARLY_S = 10.0
SHORTEST_S = 20.0  # where a server does not say for how long
LONGEST_S = 86_400.0  # whatever it says
MAX_TOKEN_CHARS = 4000  # what one header holds beside its scheme
SignAssertion = Callable[[dict[str, Any]], str]
GivenSecret = Callable[[str], str | None]


class NotAuthorized(Exception):
    """No token.  The text says why, without anything secret."""


class Tokens:
    """Of every subscription."""

    def __init__(self, fetches: Fetches, given: GivenSecret, sign: SignAssertion, clock: Clock) -> None:
        self._fetches = fetches
        self._given = given
        self._sign = sign
        self._clock = clock
        self._held: dict[str, tuple[str, float]] = {}

    async def token(self, subscription: Subscription) -> str:
        """A bearer token.  Raises NotAuthorized."""
        held = self._held.get(subscription.name)
        if held is not None and self._clock.now() < held[1]:
            return held[0]
        match subscription.authorization:
            case StaticToken():
                return self._secret(subscription.name)
            case ClientCredentials() as how:
                token, life_s = await self._ask(subscription.name, how)
                self._held[subscription.name] = (token, self._clock.now() + life_s - EARLY_S)
                return token

    def forget(self, name: str) -> None:
        """It was refused."""
        self._held.pop(name, None)

    async def _ask(self, name: str, how: ClientCredentials) -> tuple[str, float]:
        form = {"grant_type": "client_credentials", **({} if how.scope is None else {"scope": how.scope})}
        headers = [("Content-Type", "application/x-www-form-urlencoded"), ("Accept", "application/json")]
        match how.client_auth:
            case "private_key_jwt":
                form |= {"client_id": how.client_id, "client_assertion_type": ASSERTION, "client_assertion": self._assertion(how)}
            case "client_secret_post":
                form |= {"client_id": how.client_id, "client_secret": self._secret(name)}
            case "client_secret_basic":
                pair = f"{quote_plus(how.client_id)}:{quote_plus(self._secret(name))}"
                headers.append(("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
        try:
            got = await self._fetches.fetch(
                Fetch(use="transmitters", method="POST", url=how.token_endpoint, headers=tuple(headers), body=urlencode(form))
            )
        except FetchUnavailable:
            raise NotAuthorized("no edge answered") from None
        if got.status != 200:
            raise NotAuthorized(f"the token endpoint answered {got.status or got.failed or got.refused}")
        return _read(got.body)

    def _assertion(self, how: ClientCredentials) -> str:
        now = int(self._clock.now())
        aud = how.audience or how.token_endpoint
        return self._sign(
            {"iss": how.client_id, "sub": how.client_id, "aud": aud, "iat": now, "exp": now + ASSERTION_S, "jti": token_hex(16)}
        )

    def _secret(self, name: str) -> str:
        secret = self._given(name)
        if secret is None:
            raise NotAuthorized(f"keys/subscriptions/{name} holds no secret")
        return secret


def _read(body: str) -> tuple[str, float]:
    """RFC 6749 section 5.1."""
    try:
        said = json.loads(body)
        token, kind, life_s = said["access_token"], said["token_type"], said.get("expires_in", SHORTEST_S)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise NotAuthorized("the token endpoint's answer cannot be read") from None
    good = isinstance(token, str) and 0 < len(token) <= MAX_TOKEN_CHARS and token.isascii() and token.isprintable()
    bearer = isinstance(kind, str) and kind.lower() == "bearer"
    if not good or not bearer or type(life_s) not in (int, float) or (type(life_s) is float and math.isnan(life_s)):
        raise NotAuthorized("the token endpoint's answer holds no bearer token")
    return token, float(min(max(life_s, EARLY_S + 1), LONGEST_S))
