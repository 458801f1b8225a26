"""Tool executions as metrics."""

from __future__ import annotations

import math

from agentmetrics import catalog
from agentmetrics.calls.facts import ToolExecution
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.bundle import Bundles
from agentmetrics.meters.in_flight import InFlight
from agentmetrics.recording.instruments import Batch
from agentmetrics.recording.layers.cardinality import OTHER


class ToolMeter:
    """The instruments of tool executions."""

    def __init__(self, make: Instruments) -> None:
        self._make = make
        self._executions = executions = make.counter(catalog.TOOL_EXECUTIONS)
        duration = make.histogram(catalog.TOOL_EXECUTION_DURATION)
        self.in_flight = InFlight(make, catalog.TOOL_EXECUTIONS_ACTIVE, ToolExecution, _labels)
        self._step = make.recorder.update()

        def zeros(agent_name: str, tool_name: str, extra: tuple[str, ...]) -> bool:
            own = {"agent_name": agent_name, "tool_name": tool_name, **make.named(extra)}
            for status in catalog.STATUSES:
                executions.labels(**own, status=status)
            self.in_flight.show((agent_name, tool_name, *extra))
            return True

        def bind(agent_name: str, tool_name: str, status: str, extra: tuple[str, ...]) -> Batch:
            own = {"agent_name": agent_name, "tool_name": tool_name, **make.named(extra)}
            counted = executions.labels(**own, status=status)
            return make.recorder.batch((counted,), (), (duration.labels(**own),))

        def shared(
            agent_name: str, tool_name: str, status: str, extra: tuple[str, ...]
        ) -> tuple[str, str, str, tuple[str, ...]]:
            own = extra[: len(make.extra_labels)]
            if make.keeps(executions, (agent_name, tool_name, status, *own)):
                return agent_name, tool_name, status, extra
            make.keeps(duration, (agent_name, tool_name, *own))
            return OTHER, OTHER, status, (OTHER,) * len(extra)

        self._series = Bundles(bind, share=shared)
        self._expected = Bundles(zeros)

    def expect(self, tool: ToolExecution) -> None:
        """Show 0 executions of this tool, with any status, from now on."""
        self._expected[(tool.agent_name, tool.tool_name, tool.extra)]

    def record(self, tool: ToolExecution) -> None:
        """Record a finished execution, all of it in one step."""
        seconds = tool.ended - tool.started
        if math.isnan(seconds):  # nobody knows when it began
            labels = {**self._make.named(tool.extra), "status": tool.status}
            self._executions.labels(
                agent_name=tool.agent_name, tool_name=tool.tool_name, **labels
            ).inc()
            return
        count = self._series[(tool.agent_name, tool.tool_name, tool.status, tool.extra)]
        with self._step:
            count(1.0, seconds)


def _labels(tool: ToolExecution) -> tuple[str, ...]:
    return (tool.agent_name, tool.tool_name, *tool.extra)
