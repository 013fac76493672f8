"""Load on a whole fabric for the scenarios that kill its parts, and what its tools say meanwhile."""

import asyncio
import time
from collections import Counter

from workers.demo.calls import FRAUD_CHECK, post
from workers.demo.scene import REFUND

BODY = b'{"order":"84729","amount":"120.00"}'


class Load:
    """An advisor that asks for one call after the other; every answer is kept, and those to come can be awaited.

    `do` is `invoke`, or `call` to take each token to the tool as well.
    """

    def __init__(self, scene, advisor, do="invoke"):
        self.scene, self.advisor, self.do = scene, advisor, do
        self.answers, self.came, self.slowest_s = [], asyncio.Queue(), 0.0
        self.user_token = scene.user_token()

    async def __aenter__(self):
        self._asking = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_):
        self._asking.cancel()
        await asyncio.gather(self._asking, return_exceptions=True)

    async def _ask(self):
        while True:
            began = time.monotonic()
            answer = await self.advisor.ask(self.do, **FRAUD_CHECK, body=REFUND, user_token=self.user_token)
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.answers.append(answer)
            self.came.put_nowait(answer)

    async def grants(self, count, within_s=25):
        """The next so many that were asked for from now on."""
        while not self.came.empty():
            self.came.get_nowait()
        await self.came.get()  # it may have been in flight
        async with asyncio.timeout(within_s):
            while count:
                answer = await self.came.get()
                count -= answer.get("granted", False)
        return answer

    def codes(self):
        return Counter("granted" if answer.get("granted") else answer.get("code", str(answer)) for answer in self.answers)


async def until_answered(scene, token, wanted, within_s):
    """Until the guard answers so; its view ages by time alone, so there is no event."""
    url, until = f"http://127.0.0.1:{scene.stage.ports['fraud']}/check", time.monotonic() + within_s
    while (answer := await post(url, token, BODY))[0] not in wanted:
        assert time.monotonic() < until, answer
        await asyncio.sleep(0.1)
    return answer
