"""One clock for Unix time and for what calls are timed with, as a test sets it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest


class Clock:
    """Unix time in seconds."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def set(self, wall_clock: str, zone: str = "UTC") -> None:
        """What a clock on the wall of a zone shows, as ``2025-10-26 02:30``."""
        self.now = datetime.fromisoformat(wall_clock).replace(tzinfo=ZoneInfo(zone)).timestamp()


@contextmanager
def one_clock() -> Iterator[Clock]:
    """To be given to a ``Ledger``; calls that end meanwhile end at its time."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agentmetrics.budget.ledger.intake.perf_counter", clock)
        patch.setattr("agentmetrics.budget.ledger.ledger.perf_counter", clock)
        patch.setattr("agentmetrics.calls.table.perf_counter", clock)
        patch.setattr("agentmetrics.pipeline.perf_counter", clock)
        patch.setattr("agentmetrics.meters.in_flight.perf_counter", clock)
        patch.setattr("agentmetrics.sources.langchain.callbacks.handler.perf_counter", clock)
        yield clock
