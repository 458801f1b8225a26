"""Before anything is timed: the hand-written handlers and agentmetrics record the same numbers."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder
from benchmarks.contenders import handler_on
from benchmarks.handwritten import HandwrittenHandler, LabelsEachTimeHandler
from benchmarks.workload import agent_names, answer, calls_of, drive, result, stream_timer

Samples = dict[tuple[Any, ...], float]

_TIMED = ("_seconds_bucket", "_seconds_sum", "llm_memory_")
"""What no two handlers can have in common."""


def check() -> None:
    """Raise ``AssertionError`` unless every sample that does not hold a time is the same."""
    registry = CollectorRegistry()
    expected = _samples(HandwrittenHandler(registry), registry)
    for make in (LabelsEachTimeHandler, None):
        registry = CollectorRegistry()
        handler = make(registry) if make else handler_on(PrometheusRecorder(registry))
        found = _samples(handler, registry)
        different = {
            key
            for key in expected.keys() | found.keys()
            if not _close(expected.get(key), found.get(key))
        }
        if different:
            raise AssertionError(f"not the same numbers: {sorted(different)[:5]}")


def _samples(handler: Any, registry: CollectorRegistry) -> Samples:
    drive(handler, calls_of(agent_names(3), 0, 7))
    drive(handler, calls_of(agent_names(1), 0, 2), result(answer(cache_read=128, reasoning=40)))
    stream_timer(handler, tokens=3)(2)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith("llm_")
        and sample.value  # series that begin at 0 are there at once, or with what is counted
        and not sample.name.endswith("_created")
        and not any(part in sample.name for part in _TIMED)
    }


def _close(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) < 1e-12
