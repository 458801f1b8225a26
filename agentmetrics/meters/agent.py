"""Agent runs as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.calls.facts import AgentRun
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.bundle import Bundles
from agentmetrics.meters.in_flight import InFlight, Oldest
from agentmetrics.meters.system import Memory
from agentmetrics.recording.instruments import Batch, GaugeSeries
from agentmetrics.recording.layers.cardinality import OTHER


class AgentMeter:
    """The instruments of agent runs."""

    def __init__(self, make: Instruments, memory: Memory) -> None:
        self._memory = memory
        runs = make.counter(catalog.AGENT_RUNS)
        observed = [
            make.histogram(metric)
            for metric in (
                catalog.AGENT_RUN_DURATION,
                catalog.AGENT_RUN_LLM_CALLS,
                catalog.AGENT_RUN_TOOL_CALLS,
                catalog.AGENT_RUN_TOKENS,
                catalog.AGENT_RUN_COST,
            )
        ]
        rss_delta = make.gauge(catalog.AGENT_RUN_RSS_DELTA)
        self.in_flight = InFlight(make, catalog.AGENT_ACTIVE_RUNS, AgentRun, _labels)
        self.oldest = Oldest(make, catalog.AGENT_OLDEST_ACTIVE_RUN, AgentRun)
        self._step = make.recorder.update()

        def zeros(agent_name: str, extra: tuple[str, ...]) -> bool:
            own = {"agent_name": agent_name, **make.named(extra)}
            for status in catalog.STATUSES:
                runs.labels(**own, status=status)
            self.in_flight.show((agent_name, *extra))
            self.oldest.show((agent_name,))
            return True

        def bind(agent_name: str, status: str, extra: tuple[str, ...]) -> Batch:
            own = {"agent_name": agent_name, **make.named(extra)}
            return make.recorder.batch(
                (runs.labels(**own, status=status),),
                (),
                [histogram.labels(**own) for histogram in observed],
            )

        def bind_rss_delta(agent_name: str, extra: tuple[str, ...]) -> GaugeSeries:
            return rss_delta.labels(agent_name=agent_name, **make.named(extra))

        def shared(
            agent_name: str, status: str, extra: tuple[str, ...]
        ) -> tuple[str, str, tuple[str, ...]]:
            own = extra[: len(make.extra_labels)]
            if make.keeps(runs, (agent_name, status, *own)):
                return agent_name, status, extra
            for histogram in observed:
                make.keeps(histogram, (agent_name, *own))
            return OTHER, status, (OTHER,) * len(extra)

        self._series = Bundles(bind, share=shared)
        self._rss_deltas = Bundles(bind_rss_delta)
        self._expected = Bundles(zeros)

    def expect(self, run: AgentRun) -> None:
        """Show 0 runs of this agent, with any status, from now on, as far as its labels are known.

        A run that begins notes the memory that it begins with.
        """
        if not run.extra_is_open:
            self._expected[(run.agent_name, run.extra)]
        if run.rss_bytes is None and not run.ended:
            run.rss_bytes = self._memory.rss_at(run.started)

    def record(self, run: AgentRun) -> None:
        """Record a finished run, all of it in one step."""
        self._expected[(run.agent_name, run.extra)]  # its extra labels may be known only now
        count = self._series[(run.agent_name, run.status, run.extra)]
        with self._step:
            count(
                1.0, run.ended - run.started, run.llm_calls, run.tool_calls, run.tokens,
                run.cost_usd,
            )  # fmt: skip
            if run.rss_bytes is not None:
                grown = self._memory.rss_at(run.ended) - run.rss_bytes
                self._rss_deltas[(run.agent_name, run.extra)].set(grown)


def _labels(run: AgentRun) -> tuple[str, ...]:
    return (run.agent_name, *run.extra)
