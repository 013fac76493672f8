"""Waiting for events, and the signals that are events to us."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import ExitStack


def stop_signals() -> asyncio.Event:
    """Set by SIGTERM or SIGINT.  Whoever calls this owns both."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def first_of(*events: asyncio.Event) -> None:
    """Until one of them is set."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()


def free_port() -> int:
    """A port on loopback that nobody listens on at this moment."""
    return free_ports(1)[0]


def free_ports(count: int) -> tuple[int, ...]:
    """Different ones; the system hands them out in turn, so that they stay free for a while."""
    with ExitStack() as held:
        return tuple(held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1] for _ in range(count))
