"""HTTP as the edge would make it, without a network: what stands at which URL."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from schemas.fetching import Fetch, Fetched


@dataclass
class Web:
    """What stands at which URL."""

    at: dict[str, Fetched] = field(default_factory=dict)
    asked: list[Fetch] = field(default_factory=list)

    def put(self, url: str, body: Any, *, status: int = 200, media: str = "application/json", cache: str = "", **more: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        headers = (("content-type", media), *((("cache-control", cache),) if cache else ()))
        self.at[url] = Fetched(status=status, headers=headers, body=text, **more)

    async def fetch(self, asked: Fetch) -> Fetched:
        self.asked.append(asked)
        return self.at.get(asked.url, Fetched(status=404))
