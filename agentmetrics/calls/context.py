"""What surrounds a call: the agent run it is in, and the values of the extra labels."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any

from agentmetrics.calls.facts import AgentRun
from agentmetrics.recording.metric import clean_label

current_run: ContextVar[AgentRun | None] = ContextVar("agentmetrics_run", default=None)
handler_around: ContextVar[Any] = ContextVar("agentmetrics_handler", default=None)
"""The LangChain handler of the agent around; LangChain attaches it to every run it starts."""

_NOTHING: Mapping[str, Any] = {}
_labels: ContextVar[Mapping[str, str]] = ContextVar("agentmetrics_labels", default=_NOTHING)


@contextmanager
def labels(**values: str) -> Iterator[None]:
    """Give the extra labels these values for everything inside, tasks started there included.

    Only names that ``AGENTMETRICS_EXTRA_LABELS`` lists come through; nested uses add up.
    """
    token = _labels.set({**_labels.get(), **values})
    try:
        yield
    finally:
        with suppress(ValueError):  # left in another context, as an async generator may be
            _labels.reset(token)


def langchain_config() -> Mapping[str, Any]:
    """The config of the LangChain runnable or LangGraph node that the program is in now.

    Empty outside of one, without LangChain, and in async nodes on Python 3.10, where LangGraph
    cannot say it either.
    """
    module = sys.modules.get("langchain_core.runnables.config")
    return (module.var_child_runnable_config.get() if module else None) or _NOTHING


def metadata_around() -> Mapping[str, Any]:
    """The metadata that a LangChain run would have that began here and now."""
    config = langchain_config()
    if not config:
        return _NOTHING
    inherited = getattr(config.get("callbacks"), "metadata", None)
    return {**(inherited or _NOTHING), **(config.get("metadata") or _NOTHING)}


def parent_around() -> Any:
    """The id of the LangChain run that the program is in now, if it is known."""
    return getattr(langchain_config().get("callbacks"), "parent_run_id", None)


def extra_values(
    names: tuple[str, ...],
    metadata: Mapping[str, object] | None = None,
    run: AgentRun | None = None,
    parent: object = None,
) -> tuple[str, ...]:
    """The values of the extra labels, each from the first that has one, else ``""``.

    They are: the ``metadata`` of a LangChain run; the metadata, ``configurable`` and runtime
    ``context`` of the LangGraph config around; ``labels``; the agent run ``run`` that this is
    in. ``parent`` is the id of the LangChain run that this is in.
    """
    if not names:
        return ()
    in_config = _in_config(names)
    of_run: Mapping[str, str] = _NOTHING
    if run is not None:
        of_run = dict(zip(names, run.extra, strict=False))
        if run.config_unseen and parent is not None and parent == parent_around():
            # The first to begin in a node of the run's graph: the config is now that of the graph.
            run.extra = tuple(_first(name, (*in_config, of_run)) for name in names)
            run.config_unseen = False
    sources = (metadata or _NOTHING, *in_config, _labels.get(), of_run)
    return tuple(_first(name, sources) for name in names)


def _first(name: str, sources: tuple[Mapping[str, Any], ...]) -> str:
    return next((clean_label(s[name]) for s in sources if s.get(name) is not None), "")


def _in_config(names: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    # Before 1.3, langchain-core copied what is configurable to the metadata itself.
    config = langchain_config()
    if not config:
        return ()
    configurable = config.get("configurable") or _NOTHING
    return (metadata_around(), configurable, _runtime_context(names))


def _runtime_context(names: tuple[str, ...]) -> Mapping[str, Any]:
    """What a graph was given as ``context``: a mapping, or an object of the user's own class."""
    module = sys.modules.get("langgraph.runtime")
    try:
        context = module.get_runtime().context if module else None
        if isinstance(context, Mapping):
            return context
        return {name: getattr(context, name, None) for name in names}
    except Exception:  # outside of a graph, or a property of the user's that fails
        return _NOTHING
