"""Tool executions as metrics."""

from __future__ import annotations

from agentmetrics import catalog
from agentmetrics.calls.facts import ToolExecution
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.in_flight import InFlight
from agentmetrics.recording.recorder import Recorder


class ToolMeter:
    """The instruments of tool executions."""

    def __init__(self, recorder: Recorder) -> None:
        make = Instruments(recorder)
        self.executions = make.counter(catalog.TOOL_EXECUTIONS)
        self.duration = make.histogram(catalog.TOOL_EXECUTION_DURATION)
        active = catalog.for_recorder(catalog.TOOL_EXECUTIONS_ACTIVE, recorder)
        self.in_flight = InFlight(recorder, active, ToolExecution, _labels)
        self._step = recorder.update()

    def record(self, tool: ToolExecution) -> None:
        """Record a finished execution, all of it in one step."""
        key = (tool.agent_name, tool.tool_name)
        self.in_flight.show(_labels(tool))
        with self._step:
            self.executions.labels(*key, tool.status, *tool.extra).inc()
            self.duration.labels(*key, *tool.extra).observe(tool.ended - tool.started)


def _labels(tool: ToolExecution) -> tuple[str, ...]:
    return (tool.agent_name, tool.tool_name, *tool.extra)
