"""Fixtures of unit tests, most of which are of what a program has configured."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agentmetrics import MemoryRecorder
from tests.clock import Clock, one_clock

if TYPE_CHECKING:
    from agentmetrics import MetricsCallbackHandler
    from tests.unit.books import Books

# Grafana's builders, which make the boards, need Python 3.11.
collect_ignore = ["test_board_builders.py"] if sys.version_info < (3, 11) else []

SETTINGS = ("AGENTMETRICS_", "STATSD_", "PROMETHEUS_", "FORCE_COLOR", "NO_COLOR")


@pytest.fixture
def recorder(agent_metrics: MemoryRecorder) -> MemoryRecorder:
    """The configured one: what is made without a recorder records in it."""
    return agent_metrics


@pytest.fixture
def handler(recorder: MemoryRecorder) -> MetricsCallbackHandler:
    """One that was given no recorder, so that it records in the configured one."""
    from agentmetrics import MetricsCallbackHandler

    return MetricsCallbackHandler()


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any settings, of the product and of what it reads beside its own."""
    for name in list(os.environ):
        if name.startswith(SETTINGS):
            monkeypatch.delenv(name)


@pytest.fixture
def clock() -> Iterator[Clock]:
    """Unix time, and what calls are timed with, as the test sets it."""
    with one_clock() as clock:
        yield clock


@pytest.fixture
def books(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Books]:
    """A ledger to fill; the command that reads it goes by the same clock."""
    from tests.unit.books import Books

    monkeypatch.setattr("time.time", clock)
    books = Books(tmp_path / "spend.db", clock)
    yield books
    books.ledger.close()


@pytest.fixture(scope="module")
def caches_let_go() -> Iterator[None]:
    """Instrumented caches that tests left in reference cycles, gone when their module ends.

    For as long as one lives, handlers look at every answer for whether a cache gave it.
    """
    from agentmetrics.sources.langchain.callbacks import lookups

    yield
    gc.collect()
    assert lookups.instrumented == set()
