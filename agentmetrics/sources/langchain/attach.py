"""The handler for runs without callbacks: process-wide, or inside an agent."""

from __future__ import annotations

from contextvars import ContextVar

from langchain_core.tracers.context import register_configure_hook

from agentmetrics.recording.fork import ForkSafeLock
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources import frameworks  # noqa: F401 - the agents' handler comes with it
from agentmetrics.sources.langchain.callbacks.handler import MetricsCallbackHandler
from agentmetrics.sources.langchain.callbacks.marker import Marker

_lock = ForkSafeLock()
_everywhere: MetricsCallbackHandler | None = None
_of_configured: MetricsCallbackHandler | None = None


def instrument(
    recorder: Recorder | None = None, agent_name: str | None = None
) -> MetricsCallbackHandler:
    """Attach a handler to every LangChain run in the process, and return it.

    If a ``MetricsCallbackHandler`` is also passed in ``callbacks``, that one is used. LangChain
    keeps such a hook for the life of the process, so only the first call attaches a handler; a
    later one with another recorder or name raises ``ValueError``.
    """
    global _everywhere
    with _lock:
        if _everywhere is None:
            _everywhere = MetricsCallbackHandler(recorder, agent_name)
            variable: ContextVar[MetricsCallbackHandler | None] = ContextVar(
                "agentmetrics_everywhere", default=_everywhere
            )
            register_configure_hook(variable, True, Marker)
        elif not _everywhere.is_for(recorder, agent_name):
            raise ValueError("instrument() was already called with another recorder or agent_name")
        return _everywhere


def handler_for(recorder: Recorder | None) -> MetricsCallbackHandler:
    """The handler that the runs inside of an agent get; one for all that have no recorder."""
    global _of_configured
    if recorder is not None:
        return MetricsCallbackHandler(recorder)
    if _of_configured is None:
        _of_configured = MetricsCallbackHandler()
    return _of_configured
