"""The ``InstrumentedAgent`` that the program is inside of, as frameworks need to know it."""

from __future__ import annotations

from contextvars import ContextVar

from agentmetrics.recording.recorder import Recorder


class AgentAround:
    """An agent whose run goes on; ``handler`` is a framework's own, kept for as long as that."""

    __slots__ = ("handler", "recorder")

    def __init__(self, recorder: Recorder | None) -> None:
        self.recorder = recorder
        self.handler: object = None


agent_around: ContextVar[AgentAround | None] = ContextVar("agentmetrics_agent", default=None)
