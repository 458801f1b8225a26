"""Agent runs as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.calls.facts import AgentRun
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.bundle import Bundles
from agentmetrics.meters.in_flight import InFlight
from agentmetrics.recording.recorder import Recorder


class AgentMeter:
    """The instruments of agent runs."""

    def __init__(self, recorder: Recorder) -> None:
        make = Instruments(recorder)
        self.runs = make.counter(catalog.AGENT_RUNS)
        active = catalog.for_recorder(catalog.AGENT_ACTIVE_RUNS, recorder)
        self.in_flight = InFlight(recorder, active, AgentRun, _labels)
        self.duration = make.histogram(catalog.AGENT_RUN_DURATION)
        self.llm_calls = make.histogram(catalog.AGENT_RUN_LLM_CALLS)
        self.tool_calls = make.histogram(catalog.AGENT_RUN_TOOL_CALLS)
        self.tokens = make.histogram(catalog.AGENT_RUN_TOKENS)
        self.cost = make.histogram(catalog.AGENT_RUN_COST)
        self._step = recorder.update()
        self._series: Bundles[_RunSeries] = Bundles(lambda key: _RunSeries(self, key))

    def record(self, run: AgentRun) -> None:
        """Record a finished run, all of it in one step."""
        series = self._series[_labels(run)]
        with self._step:
            self.runs.labels(run.agent_name, run.status, *run.extra).inc()
            series.duration.observe(run.ended - run.started)
            series.llm_calls.observe(run.llm_calls)
            series.tool_calls.observe(run.tool_calls)
            series.tokens.observe(run.tokens)
            series.cost.observe(run.cost_usd)


class _RunSeries:
    """The series of one (agent, extra labels)."""

    __slots__ = ("cost", "duration", "llm_calls", "tokens", "tool_calls")

    def __init__(self, meter: AgentMeter, key: tuple[str, ...]) -> None:
        meter.in_flight.show(key)
        self.duration = meter.duration.labels(*key)
        self.llm_calls = meter.llm_calls.labels(*key)
        self.tool_calls = meter.tool_calls.labels(*key)
        self.tokens = meter.tokens.labels(*key)
        self.cost = meter.cost.labels(*key)


def _labels(run: AgentRun) -> tuple[str, ...]:
    return (run.agent_name, *run.extra)
