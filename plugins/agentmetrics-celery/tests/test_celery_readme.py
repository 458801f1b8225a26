"""The README's examples, as they stand there."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agentmetrics import MemoryRecorder
from agentmetrics.catalog import PLATFORM
from agentmetrics_celery import instrument_app
from agentmetrics_celery.queues import UNACKNOWLEDGED
from agentmetrics_celery.tasks import STATUSES

README = Path(__file__).parents[1] / "README.md"


def test_the_examples_work(
    redis: Callable[[], str], agent_metrics: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", redis())
    first, second = re.findall(r"(?ms)^```python\n(.*?)^```", README.read_text())
    names: dict[str, Any] = {"__name__": "shop"}
    exec(compile(first, str(README), "exec"), names)
    assert names["add"].apply((1, 2)).get() == 3
    assert agent_metrics.value("celery_tasks_total", task_name="shop.add", status="success") == 1
    exec(compile(second, str(README), "exec"), names)
    names["add"].delay(1, 2)
    assert agent_metrics.value("celery_queue_length", queue="celery") == 1


def test_it_lists_every_metric_status_and_option() -> None:
    text = README.read_text()
    rows = {row.name for row in PLATFORM if row.name.startswith("celery_")}
    assert set(re.findall(r"^\| `(celery_\w+)` \|", text, re.MULTILINE)) == {
        *rows,
        UNACKNOWLEDGED.name,
    }
    assert all(f"`{status}`" in text for status in STATUSES)
    assert all(f"`{option}`" in text for option in inspect.signature(instrument_app).parameters)
