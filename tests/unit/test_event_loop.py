"""How late event loops are, on asyncio and trio."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import MemoryRecorder, PrometheusRecorder, configure, watch_event_loop
from agentmetrics.exposition import make_asgi_app
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.sources import event_loop

Run = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]

LAG = "event_loop_lag_seconds"
INTERVAL = 0.01


@pytest.fixture
def run(anyio_backend: str) -> Run:
    """Runs a coroutine function on a fresh loop of either kind."""
    return lambda main: anyio.run(main, backend=anyio_backend)


def late(recorder: MemoryRecorder, seconds: float) -> float:
    """How many times the loop was later than that, which is a bound of a bucket."""
    found = recorder.histogram(LAG)
    return found.count - dict(found.cumulative())[seconds]


class TestALoop:
    def test_a_loop_that_is_blocked_is_seen_as_late(
        self, run: Run, recorder: MemoryRecorder
    ) -> None:
        async def main() -> None:
            watch_event_loop(interval_seconds=INTERVAL)
            await anyio.sleep(0.05)
            time.sleep(0.3)
            await anyio.sleep(0.05)

        run(main)
        # What was due in the first 50 ms of these 300 waited for more than 250.
        assert late(recorder, 0.25) >= 4
        assert recorder.histogram(LAG).count >= 30

    def test_a_loop_that_is_idle_is_hardly_late(self, run: Run, recorder: MemoryRecorder) -> None:
        async def main() -> None:
            watch_event_loop(interval_seconds=INTERVAL)
            await anyio.sleep(0.3)

        run(main)
        found = recorder.histogram(LAG)
        assert found.count >= 20
        assert found.quantile(0.5) < 0.05

    def test_a_loop_is_watched_once_however_often_it_is_asked_for(
        self, run: Run, recorder: MemoryRecorder
    ) -> None:
        async def main() -> None:
            for _ in range(10):
                watch_event_loop(interval_seconds=0.02)
            await anyio.sleep(0.2)

        run(main)
        assert 1 <= recorder.histogram(LAG).count <= 12

    def test_a_loop_ends_as_if_nobody_had_watched_it_and_is_let_go(
        self, run: Run, recorder: MemoryRecorder
    ) -> None:
        for _ in range(3):

            async def main() -> None:
                watch_event_loop(interval_seconds=INTERVAL)
                await anyio.sleep(0.03)

            run(main)  # pytest turns warnings of what was left open into errors
        gc.collect()
        assert len(event_loop._watched) == 0
        assert recorder.histogram(LAG).count >= 3

    def test_a_loop_may_be_watched_for_a_recorder_of_its_own(
        self, run: Run, recorder: MemoryRecorder
    ) -> None:
        own = MemoryRecorder()

        async def main() -> None:
            watch_event_loop(own, interval_seconds=INTERVAL)
            await anyio.sleep(0.05)

        run(main)
        assert own.histogram(LAG).count >= 1
        assert recorder.histogram(LAG).count == 0

    def test_a_loop_records_where_is_configured_by_then(
        self, run: Run, recorder: MemoryRecorder
    ) -> None:
        other = MemoryRecorder()

        async def main() -> None:
            watch_event_loop(interval_seconds=INTERVAL)
            await anyio.sleep(0.03)
            configure(other)
            await anyio.sleep(0.05)

        run(main)
        assert other.histogram(LAG).count >= 1

    def test_a_loop_goes_on_where_recording_fails(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def refuse(_: object) -> None:
            raise RuntimeError("with a secret")

        monkeypatch.setattr(event_loop, "pipeline_for", refuse)
        monkeypatch.setattr(event_loop, "_problems", LogOnce())

        async def main() -> None:
            watch_event_loop(interval_seconds=INTERVAL)
            await anyio.sleep(0.05)

        run(main)
        (said,) = caplog.messages
        assert said == "the lag of an event loop is not recorded: RuntimeError"

    def test_a_loop_that_stood_still_for_a_night_is_caught_up_with_at_once(self) -> None:
        seen: list[float] = []
        ticks = event_loop._Ticks(seen.append, 0.25)
        ticks.first(0.0)
        assert ticks.ran(36_000.0) > 36_000
        assert event_loop.MOST_AT_ONCE <= len(seen) <= event_loop.MOST_AT_ONCE + 1
        assert min(seen) < 0.25

    def test_a_loop_does_not_keep_the_context_of_who_asked(self) -> None:
        class Request: ...

        asked: ContextVar[Request | None] = ContextVar("asked", default=None)
        request = Request()
        seen = weakref.ref(request)

        async def main() -> None:
            async def one(request: Request) -> None:
                asked.set(request)
                watch_event_loop(MemoryRecorder(), interval_seconds=INTERVAL)

            nonlocal request
            task = asyncio.create_task(one(request))
            await task
            del task, request
            await asyncio.sleep(0.03)
            gc.collect()
            assert seen() is None

        asyncio.run(main())


class TestAskedFor:
    def test_asked_for_where_no_loop_runs_is_one_sentence(self) -> None:
        with pytest.raises(RuntimeError, match=r"no event loop is running here: call watch_event"):
            watch_event_loop()

    @pytest.mark.parametrize("interval", [0, -1, float("nan")])
    def test_asked_for_with_no_interval_is_one_sentence(self, interval: float) -> None:
        with pytest.raises(ValueError, match=r"interval_seconds=.* must be above 0"):
            watch_event_loop(interval_seconds=interval)

    @pytest.mark.parametrize("is_on", [True, False])
    def test_asked_for_by_the_setting_it_is_the_loop_that_serves_metrics(
        self, run: Run, agent_metrics: MemoryRecorder, is_on: bool
    ) -> None:
        recorder = PrometheusRecorder(CollectorRegistry())
        configure(recorder, system_metrics=is_on)
        app = make_asgi_app()

        async def main() -> None:
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            async def receive() -> Any:
                return {"type": "http.request"}

            scope = {"type": "http", "method": "GET", "headers": []}
            await app(scope, receive, send)
            assert sent[0]["status"] == 200
            await anyio.sleep(event_loop.INTERVAL_SECONDS * 1.5)

        run(main)
        assert (recorder.histogram(LAG).count >= 1) is is_on
