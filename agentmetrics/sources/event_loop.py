"""Event loops that are watched: how late they run what is due."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import Callable, Hashable
from contextlib import suppress
from contextvars import Context
from typing import Any

from agentmetrics.config.active import active, pipeline_for
from agentmetrics.meters.machine import EventLoopMeter
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.recorder import Recorder

INTERVAL_SECONDS = 0.25
MOST_AT_ONCE = 1000
"""Ticks that one long stop can have missed; a machine that slept for a night has missed no more."""

_watched: weakref.WeakKeyDictionary[Any, set[Hashable]] = weakref.WeakKeyDictionary()
_problems = LogOnce()


def watch_event_loop(
    recorder: Recorder | None = None, *, interval_seconds: float = INTERVAL_SECONDS
) -> None:
    """Measure from now on how late the running event loop is, until it ends.

    To be called inside a coroutine, on asyncio or trio. Something is due on the loop every
    ``interval_seconds``, and how much later it runs goes to ``event_loop_lag_seconds``; while the
    loop is blocked, so does what would have been due meanwhile. ``recorder`` defaults to the
    configured one. A loop that is watched already is not watched twice.

    Raises ``ValueError`` for an interval that is not above 0, ``RuntimeError`` where no event loop
    runs.
    """
    if not interval_seconds > 0:
        raise ValueError(f"interval_seconds={interval_seconds!r} must be above 0")
    loop, watch = _running()
    known = _watched.setdefault(loop, set())
    of = None if recorder is None else recorder.anchor
    if of not in known:
        known.add(of)
        watch(_Ticks(_observer(recorder), interval_seconds))


def watch_event_loop_if_asked() -> None:
    """Watch the running loop where the settings ask for system metrics."""
    in_use = active.in_use
    if in_use is not None and in_use.settings is not None and in_use.settings.system_metrics:
        watch_event_loop()


class _Ticks:
    """When something is due, and how late it is when it runs."""

    def __init__(self, observe: Callable[[float], None], interval_seconds: float) -> None:
        self._observe, self._interval = observe, interval_seconds

    def first(self, now: float) -> float:
        self.due = now + self._interval
        return self.due

    def ran(self, now: float) -> float:
        """Record everything that was due until ``now``; returns when the next is."""
        missed = int((now - self.due) / self._interval)
        if missed > MOST_AT_ONCE:
            self.due += (missed - MOST_AT_ONCE) * self._interval
        while self.due <= now:
            self._observe(now - self.due)
            self.due += self._interval
        return self.due


def _observer(recorder: Recorder | None) -> Callable[[float], None]:
    def observe(late_seconds: float) -> None:
        try:
            pipeline_for(recorder).meter(EventLoopMeter).late(late_seconds)
        except Exception as error:  # the loop is the program's
            name = type(error).__name__
            _problems.warn(name, "the lag of an event loop is not recorded: %s", name)

    return observe


def _running() -> tuple[Any, Callable[[_Ticks], None]]:
    """The loop that runs here, and what watches it."""
    trio: Any = sys.modules.get("trio")
    if trio is not None:
        with suppress(RuntimeError):
            return trio.lowlevel.current_trio_token(), _watch_trio
    try:
        return asyncio.get_running_loop(), _watch_asyncio
    except RuntimeError:
        raise RuntimeError(
            "no event loop is running here: call watch_event_loop() inside a coroutine, such as "
            "main() or a server's lifespan"
        ) from None


def _watch_asyncio(ticks: _Ticks) -> None:
    # Timers, not a task: a loop may close with timers left. A task would have to be cancelled.
    loop = asyncio.get_running_loop()
    nothing = Context()  # that of the caller would live on with the loop

    def tick() -> None:
        loop.call_at(ticks.ran(loop.time()), tick, context=nothing)

    loop.call_at(ticks.first(loop.time()), tick, context=nothing)


def _watch_trio(ticks: _Ticks) -> None:
    import trio

    async def tick() -> None:
        due = ticks.first(trio.current_time())
        while True:
            await trio.sleep_until(due)
            due = ticks.ran(trio.current_time())

    trio.lowlevel.spawn_system_task(tick)  # which trio cancels when its main task has ended
