"""Which agent a call belongs to that comes by no callback: one of track_call, an embedding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from agentmetrics.calls.context import (
    extra_values,
    langchain_config,
    metadata_around,
    parent_around,
)
from agentmetrics.calls.facts import LLMCall
from agentmetrics.calls.table import OpenCalls
from agentmetrics.sources.langchain.callbacks.attribution import attribute, nearest_run


def call_here(
    calls: OpenCalls, agent_name: str | None, provider: str, model: str, **extra: str
) -> LLMCall:
    """A call that begins here, with its agent, the run of it, and the extra labels' values.

    The agent is ``agent_name``, else the first that answers of the rule that LangChain's events
    have, in ``agentmetrics.langchain.attribution``: inside a chain, a tool or a graph's node
    LangChain keeps the config of that run in a context variable. ``extra`` stands before what
    the run's metadata and ``agentmetrics.labels`` say.
    """
    call = LLMCall("", provider, model, 0.0)
    try:
        _attribute(calls, call, agent_name, extra)
    except Exception as error:  # somebody's config in another shape
        calls.failed("surroundings", error)
        call.agent_name, call.run = attribute(agent_name, None, None)
        call.extra = extra_values(calls.extra_labels, extra)
    return call


def _attribute(
    calls: OpenCalls, call: LLMCall, agent_name: str | None, extra: dict[str, str]
) -> None:
    metadata, parent = metadata_around(), parent_around()
    scope = None if parent is None else calls.scope(parent)
    told = agent_name or _name_of_handler(langchain_config().get("callbacks"))
    call.agent_name, call.run = attribute(told, metadata, scope)
    if calls.extra_labels:
        own = {**metadata, **extra}
        call.extra = extra_values(calls.extra_labels, own, nearest_run(scope), parent)


def _name_of_handler(callbacks: Any) -> str | None:
    """The name that a ``MetricsCallbackHandler`` of the run puts everything down to."""
    handlers: Iterable[Any] = getattr(callbacks, "handlers", callbacks) or ()
    if not handlers:
        return None
    from agentmetrics.sources.langchain.callbacks.handler import MetricsCallbackHandler

    ours = (handler for handler in handlers if isinstance(handler, MetricsCallbackHandler))
    return next((handler.agent_name for handler in ours if handler.agent_name), None)
