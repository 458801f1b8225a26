"""Which agent a call belongs to that comes by no callback: one of track_call, an embedding."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from agentmetrics.calls import OpenCalls
from agentmetrics.context import extra_values
from agentmetrics.facts import LLMCall, Scope
from agentmetrics.langchain.attribution import Metadata, attribute

_RUNNABLE_CONFIG = "langchain_core.runnables.config"


def call_here(
    calls: OpenCalls, agent_name: str | None, provider: str, model: str, **extra: str
) -> LLMCall:
    """A call that begins here, with its agent, the run of it, and the extra labels' values.

    The agent is ``agent_name``, else the first that answers of the rule that LangChain's events
    have, in ``agentmetrics.langchain.attribution``: inside a chain, a tool or a graph's node
    LangChain keeps the config of that run in a context variable. ``extra`` stands before what
    the run's metadata and ``agentmetrics.labels`` say.
    """
    try:
        metadata, scope, told = _around(calls)
        name, run = attribute(agent_name or told, metadata, scope)
    except Exception as error:  # somebody's config in another shape
        calls.failed("surroundings", error)
        metadata, (name, run) = None, attribute(agent_name, None, None)
    call = LLMCall(name, provider, model, 0.0, run)
    if calls.extra_labels:
        call.extra = extra_values(calls.extra_labels, {**(metadata or {}), **extra})
    return call


def _around(calls: OpenCalls) -> tuple[Metadata | None, Scope | None, str | None]:
    """The metadata of the LangChain run around, what is open of it, and its handler's name."""
    module = sys.modules.get(_RUNNABLE_CONFIG)  # not imported, nothing of LangChain is running
    config = None if module is None else module.var_child_runnable_config.get()
    if not config:
        return None, None, None
    callbacks = config.get("callbacks")
    run_id = getattr(callbacks, "parent_run_id", None)
    found = None if run_id is None else calls.get(run_id)
    scope = found if isinstance(found, Scope) else None
    return config.get("metadata"), scope, _name_of_handler(callbacks)


def _name_of_handler(callbacks: Any) -> str | None:
    """The name that a ``MetricsCallbackHandler`` of the run puts everything down to."""
    from agentmetrics.langchain.handler import MetricsCallbackHandler

    handlers: Iterable[Any] = getattr(callbacks, "handlers", callbacks) or ()
    for handler in handlers:
        if isinstance(handler, MetricsCallbackHandler) and handler.agent_name:
            return handler.agent_name
    return None
