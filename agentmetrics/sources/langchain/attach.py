"""The handler on runs that were given no callbacks: of the whole process, or inside an agent."""

from __future__ import annotations

import threading
from contextvars import ContextVar

from langchain_core.tracers.context import register_configure_hook

from agentmetrics.calls.context import handler_around
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.langchain.callbacks.handler import MetricsCallbackHandler

_lock = threading.Lock()
_hooked_agents = False
_everywhere: MetricsCallbackHandler | None = None


def instrument(
    recorder: Recorder | None = None, agent_name: str | None = None
) -> MetricsCallbackHandler:
    """Attach a handler to every LangChain run of the process, and return it.

    Where a ``MetricsCallbackHandler`` is passed in ``callbacks`` too, that one stands. LangChain
    keeps such a hook for the life of the process, so only the first call attaches; a later one
    with another recorder or name raises ``ValueError``.
    """
    global _everywhere
    hook_agents()
    with _lock:
        if _everywhere is None:
            _everywhere = MetricsCallbackHandler(recorder, agent_name)
            variable: ContextVar[MetricsCallbackHandler | None] = ContextVar(
                "agentmetrics_everywhere", default=_everywhere
            )
            register_configure_hook(variable, True, MetricsCallbackHandler)
        elif not _everywhere.is_for(recorder, agent_name):
            raise ValueError("instrument() was called before, with another recorder or agent_name")
        return _everywhere


def hook_agents() -> None:
    """Let LangChain ask for the handler of the agent that a run is inside of; once a process."""
    global _hooked_agents
    with _lock:
        if not _hooked_agents:
            _hooked_agents = True
            register_configure_hook(handler_around, True, MetricsCallbackHandler)


def handler_of(recorder: Recorder | None) -> MetricsCallbackHandler:
    """The handler that an agent's runs get; one a recorder, and one for the configured one."""
    if recorder is None:
        return _configured()
    return recorder.attached(MetricsCallbackHandler)


def _configured() -> MetricsCallbackHandler:
    global _of_configured
    if _of_configured is None:
        _of_configured = MetricsCallbackHandler()
    return _of_configured


_of_configured: MetricsCallbackHandler | None = None
