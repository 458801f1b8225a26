"""A pytest plugin: the fixture ``agent_metrics`` for tests of programs that use agentmetrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from agentmetrics.backends.memory import MemoryRecorder

pytest.register_assert_rewrite("agentmetrics.testing.conformance")


@pytest.fixture
def agent_metrics() -> Iterator[MemoryRecorder]:
    """A fresh ``MemoryRecorder`` that is the configured one for the duration of the test.

    What the program records in its own recorder does not appear here.
    """
    from agentmetrics.backends.memory import MemoryRecorder
    from agentmetrics.config.active import replaced

    with replaced(MemoryRecorder()) as recorder:
        yield recorder
