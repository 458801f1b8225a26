"""A series of any kind that forgets."""

from __future__ import annotations

from agentmetrics.recording.instruments import CounterSeries, GaugeSeries, HistogramSeries


class _Nothing(CounterSeries, GaugeSeries, HistogramSeries):
    __slots__ = ()

    def inc(self, amount: float = 1.0) -> None: ...
    def dec(self, amount: float = 1.0) -> None: ...
    def set(self, value: float) -> None: ...
    def observe(self, value: float) -> None: ...


NOTHING = _Nothing()
