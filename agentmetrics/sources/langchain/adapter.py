"""LangChain as a framework that calls are made inside of; loaded when it makes its first run.

Modules of LangChain's, or ours that use it, may be half imported then: what is imported here needs
none of those.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, cast

from langchain_core.tracers.context import register_configure_hook

from agentmetrics.calls.attribution import nearest_run
from agentmetrics.calls.context import run_here
from agentmetrics.calls.facts import AgentRun
from agentmetrics.pipeline import Pipeline
from agentmetrics.recording.collector import is_collecting
from agentmetrics.recording.metric import clean_label
from agentmetrics.sources.around import agent_here
from agentmetrics.sources.frameworks import Placed, add_framework
from agentmetrics.sources.langchain.around import (
    NO_CONFIG,
    extra_values_here,
    langchain_config,
    metadata_around,
    parent_around,
)
from agentmetrics.sources.langchain.callbacks import errors  # noqa: F401 - makes them known
from agentmetrics.sources.langchain.callbacks.attribution import attribute
from agentmetrics.sources.langchain.callbacks.marker import Marker

_is_asked: ContextVar[bool] = ContextVar("agentmetrics_is_asked", default=False)
"""Whether the config is being asked, whose metadata may be of somebody's own class, and record a
call itself, which would ask the same again, and so on: it is not asked twice."""


class LangChain:
    """What LangChain's config says of the chain, tool or node that the program is in."""

    def place_call(
        self,
        pipeline: Pipeline,
        call: Placed,
        agent_name: str | None,
        labels: Mapping[str, Any],
    ) -> bool:
        if is_collecting() or langchain_config() is NO_CONFIG or _is_asked.get():
            return False
        token = _is_asked.set(True)
        try:
            return self._place_call(pipeline, call, agent_name, labels)
        finally:
            _is_asked.reset(token)

    def _place_call(
        self,
        pipeline: Pipeline,
        call: Placed,
        agent_name: str | None,
        labels: Mapping[str, Any],
    ) -> bool:
        config = langchain_config()
        if not config:
            return False
        metadata, parent = metadata_around(), parent_around()
        scope = None if parent is None else pipeline.table.scope(parent)
        given = agent_name or _name_of_handler(config.get("callbacks"))
        default = pipeline.options.default_agent_name
        call.agent_name, call.run = attribute(given, metadata, scope, default)
        own = {**metadata, **labels}
        call.extra = extra_values_here(pipeline.extra_labels, own, nearest_run(scope), parent)
        return True

    def place_run(self, pipeline: Pipeline, run: AgentRun) -> bool:
        if is_collecting() or langchain_config() is NO_CONFIG or _is_asked.get():
            return False
        token = _is_asked.set(True)
        try:
            run.extra = extra_values_here(pipeline.extra_labels, None, run_here())
            run.outer_name = clean_label(metadata_around().get("lc_agent_name"))
            return True
        finally:
            _is_asked.reset(token)


def _name_of_handler(callbacks: Any) -> str | None:
    """The name that a ``MetricsCallbackHandler`` of the run puts everything down to."""
    handlers = getattr(callbacks, "handlers", callbacks)
    if not issubclass(type(handlers), list):  # somebody's own, which may go on without end
        return None
    ours = (each for each in list.__iter__(handlers) if issubclass(type(each), Marker))
    return next((handler.agent_name for handler in ours if handler.agent_name), None)


class _HandlerOfAgent:
    """Where LangChain looks for the handler of the ``InstrumentedAgent`` that a run is inside of.

    It asks a context variable; this has the one method that it uses.
    """

    def get(self) -> Marker | None:
        around = agent_here()
        if around is None:
            return None
        if around.handler is None:
            # Here, since LangChain is complete by now. It is loaded already: with runnables.
            from agentmetrics.sources.langchain.attach import handler_for

            around.handler = handler_for(around.recorder)
        return cast("Marker", around.handler)


add_framework(LangChain())
register_configure_hook(cast("ContextVar[Any]", _HandlerOfAgent()), True, Marker)
