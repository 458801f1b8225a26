"""The LangChain run that the program is in, and what its config says of the extra labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from agentmetrics.calls.context import extra_values, first_values
from agentmetrics.calls.facts import AgentRun

NO_CONFIG: Mapping[str, Any] = {}
"""What there is outside of LangChain."""


def langchain_config() -> Mapping[str, Any]:
    """The config of the LangChain runnable or LangGraph node that the program is in now.

    Empty outside of one, and in async nodes on Python 3.10, where LangGraph cannot say it either.
    """
    module = sys.modules.get("langchain_core.runnables.config")
    config = module.var_child_runnable_config.get() if module else None
    return NO_CONFIG if config is None else config


def metadata_around() -> Mapping[str, Any]:
    """The metadata that a LangChain run would have that began here and now."""
    config = langchain_config()
    if not config:
        return NO_CONFIG
    inherited = getattr(config.get("callbacks"), "metadata", None)
    return {**_copied(inherited), **_copied(config.get("metadata"))}


def _copied(metadata: Any) -> Mapping[str, Any]:
    """What is in metadata; ``TypeError`` where it is no dictionary, as LangChain's are: what else
    somebody has put there may have no end."""
    return NO_CONFIG if metadata is None else dict(dict.items(metadata))


def parent_around() -> Any:
    """The id of the LangChain run that the program is in now, if it is known."""
    return getattr(langchain_config().get("callbacks"), "parent_run_id", None)


def extra_values_here(
    names: tuple[str, ...],
    metadata: Mapping[str, Any] | None,
    run: AgentRun | None,
    parent: object = None,
) -> tuple[str, ...]:
    """The values of the extra labels of what begins here: see ``extra_values``.

    What LangChain tells of them: the ``metadata`` of a run, then the metadata, ``configurable`` and
    runtime ``context`` of the LangGraph config around. ``parent`` is the id of the run that this
    is in, ``run`` the agent's.
    """
    if not names:
        return ()
    in_config = _in_config(names)
    if run is not None and run.extra_is_open and parent is not None and parent == parent_around():
        # The first to begin in a node of the run's graph: the config is now that of the graph.
        run.extra = first_values(names, (*in_config, dict(zip(names, run.extra, strict=False))))
        run.extra_is_open = False
    return extra_values(names, (metadata or NO_CONFIG, *in_config), run)


def _in_config(names: tuple[str, ...]) -> tuple[Mapping[str, Any], ...]:
    # Before 1.3, langchain-core copied what is configurable to the metadata itself.
    config = langchain_config()
    if not config:
        return ()
    configurable = config.get("configurable") or NO_CONFIG
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
        return NO_CONFIG
