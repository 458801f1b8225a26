"""The backend that records nothing, for programs that want metrics off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from agentmetrics.recording.instruments import (
    Batch,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Observed,
)
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.nothing import NOTHING
from agentmetrics.recording.recorder import Recorder

_NO_STEP = nullcontext()


class NoopRecorder(Recorder):
    """A recorder that discards everything."""

    def bind_counter(self, metric: Metric, values: tuple[str, ...]) -> CounterSeries:
        return NOTHING

    def bind_gauge(self, metric: Metric, values: tuple[str, ...]) -> GaugeSeries:
        return NOTHING

    def bind_histogram(self, metric: Metric, values: tuple[str, ...]) -> HistogramSeries:
        return NOTHING

    def batch(
        self,
        adds: Sequence[CounterSeries | GaugeSeries],
        sets: Sequence[GaugeSeries],
        observations: Sequence[HistogramSeries],
    ) -> Batch:
        return _forget

    def observe_gauge(self, metric: Metric, callback: Callable[[], Observed]) -> None: ...

    def update(self) -> AbstractContextManager[None]:
        return _NO_STEP


def _forget(*values: float) -> None: ...
