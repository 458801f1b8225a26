"""A pytest plugin: the fixture ``agent_metrics`` for tests of programs that use agentmetrics."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from agentmetrics.backends.memory import MemoryRecorder

pytest.register_assert_rewrite("agentmetrics.testing.conformance")


@pytest.fixture
def agent_metrics() -> Iterator[MemoryRecorder]:
    """A fresh ``MemoryRecorder`` that is the configured one for the duration of the test.

    What the program records in its own recorder does not appear here. Where the test fails, pytest
    shows what was recorded.
    """
    from agentmetrics.backends.memory import MemoryRecorder
    from agentmetrics.config.active import replaced

    with replaced(MemoryRecorder()) as recorder:
        yield recorder


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Add what was recorded to the report of a test that fails."""
    outcome = yield
    recorder = getattr(item, "funcargs", {}).get("agent_metrics")
    if call.when != "call" or call.excinfo is None or recorder is None:
        return
    from agentmetrics.recording.recorder import Recorder
    from agentmetrics.testing.recorded import recorded

    if isinstance(recorder, Recorder):  # and not what a fixture of the program's own is
        outcome.get_result().sections.append(("agent_metrics", recorded(recorder)))
