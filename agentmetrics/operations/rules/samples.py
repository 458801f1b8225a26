"""Series that the tests of alerts share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agentmetrics.operations.rules.objectives import Objective, Objectives

AGENT = 'job="app", instance="a:9464", agent_name="planner"'
CALL = f'{AGENT}, provider="openai", model="gpt-4o"'
JOB = 'job="app", instance="a:9464"'


def calls(**per_minute: int) -> dict[str, str]:
    """Ten hours of one agent's calls to one model, by status."""
    return {
        f'llm_calls_total{{{CALL}, status="{status}"}}': f"0+{number}x600"
        for status, number in per_minute.items()
    }


def histogram(name: str, labels: str, per_minute: Mapping[str, int]) -> dict[str, str]:
    """Ten hours of a histogram, by the upper bounds of its cumulative buckets, ``+Inf`` last."""
    series = {
        f'{name}_bucket{{{labels}, le="{bound}"}}': f"0+{number}x600"
        for bound, number in per_minute.items()
    }
    return {**series, f"{name}_count{{{labels}}}": f"0+{per_minute['+Inf']}x600"}


def an_agent_of_each(objectives: Objectives) -> Iterator[tuple[str, Objective]]:
    """The name of an agent for each objective; the first is held to the default one."""
    name = "planner"
    while name in objectives.agents:
        name += "-2"
    yield name, objectives.default
    yield from objectives.agents.items()
