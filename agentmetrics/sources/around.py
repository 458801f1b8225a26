"""The ``InstrumentedAgent`` that the program is inside of, as frameworks need to know it."""

from __future__ import annotations

from contextvars import ContextVar

from agentmetrics.calls.facts import AgentRun
from agentmetrics.recording.collector import COLLECTING, is_collecting
from agentmetrics.recording.recorder import Recorder


class AgentAround:
    """An agent whose run goes on; ``handler`` is a framework's own, kept for as long as that."""

    __slots__ = ("around", "handler", "recorder", "run")

    def __init__(self, recorder: Recorder | None, run: AgentRun) -> None:
        self.recorder, self.run = recorder, run
        self.around = agent_here()
        self.handler: object = None


agent_around: ContextVar[AgentAround | None] = ContextVar("agentmetrics_agent", default=None)
"""What was set last, where :func:`agent_here` finds the one around."""


def agent_here() -> AgentAround | None:
    """The agent around."""
    if COLLECTING[0] and is_collecting():
        return None
    found = agent_around.get()
    while found is not None and found.run.is_left:
        found = found.around
    return found
