"""Which agent a call or run belongs to that comes from no framework's events: by what is around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agentmetrics.calls.attribution import attribute
from agentmetrics.calls.context import extra_values, run_here
from agentmetrics.calls.facts import AgentRun, LLMCall, ToolExecution
from agentmetrics.pipeline import Pipeline
from agentmetrics.sources.frameworks import Placed, frameworks


def call_here(
    pipeline: Pipeline, agent_name: str | None, provider: str, model: str, **labels: str
) -> LLMCall:
    """A call that begins here, with its agent, the run of it, and the extra labels' values.

    The agent is ``agent_name``, else that of the framework's run or the agent run around.
    ``labels`` stand before what the framework and ``agentmetrics.labels`` say.
    """
    call = LLMCall("", provider, model, 0.0)
    _place(pipeline, call, agent_name, labels)
    return call


def tool_here(pipeline: Pipeline, agent_name: str | None, tool_name: str) -> ToolExecution:
    """An execution of a tool that begins here, placed as a call is."""
    tool = ToolExecution("", tool_name, 0.0)
    _place(pipeline, tool, agent_name, {})
    return tool


def _place(
    pipeline: Pipeline, fact: Placed, agent_name: str | None, labels: Mapping[str, Any]
) -> None:
    try:
        for framework in frameworks():
            if framework.place_call(pipeline, fact, agent_name, labels):
                return
    except Exception as error:  # somebody's metadata in another shape
        pipeline.failed("surroundings", error)
    default = pipeline.options.default_agent_name
    fact.agent_name, fact.run = attribute(agent_name, None, default)
    if pipeline.extra_labels:
        fact.extra = extra_values(pipeline.extra_labels, (labels,), run_here())


def extra_here(pipeline: Pipeline, labels: Mapping[str, Any]) -> tuple[str, ...]:
    """The extra labels' values of something that happens here and is neither call nor run.

    ``labels`` stand before what the framework and ``agentmetrics.labels`` say.
    """
    place = ToolExecution("", "", 0.0)
    _place(pipeline, place, None, labels)
    return place.extra


def place_run(pipeline: Pipeline, run: AgentRun) -> None:
    """Give a run that begins here the extra labels' values, and what is around it."""
    run.around = run_here()
    try:
        if any(framework.place_run(pipeline, run) for framework in frameworks()):
            return
    except Exception as error:  # somebody's metadata in another shape
        pipeline.failed("surroundings", error)
    run.extra = extra_values(pipeline.extra_labels, (), run.around)
