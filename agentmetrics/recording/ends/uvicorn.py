"""uvicorn: a server that ends by a signal flushes after its shutdown.

``Server.capture_signals`` puts the handlers from before back and raises the signal again: where
that is the default one, the process dies of it and runs nothing at exit.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from agentmetrics.recording.ends.work import start

PAUSE_SECONDS = 0.005

_hooked: WeakSet[Any] = WeakSet()


def hook(flush: Callable[[], None]) -> None:
    """Have the server flush whose method is the handler of SIGTERM now, if one is."""
    module = sys.modules.get("uvicorn.server")
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if module is None or server in _hooked or not isinstance(server, module.Server):
        return
    _hooked.add(server)
    shutdown = server.shutdown

    async def shutdown_and_flush(*args: Any, **kwargs: Any) -> None:
        try:
            await shutdown(*args, **kwargs)
        finally:
            if getattr(server, "_captured_signals", ()):  # else the process goes on, or exits
                await _beside_the_loop(flush)

    server.shutdown = shutdown_and_flush


async def _beside_the_loop(flush: Callable[[], None]) -> None:
    """Flush in a thread: tasks of the loop may go on."""
    ended: list[bool] = []

    def work() -> None:
        try:
            flush()
        finally:
            ended.append(True)

    if not start(work):
        flush()
        return
    while not ended:
        await asyncio.sleep(PAUSE_SECONDS)
