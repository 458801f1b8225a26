"""Limits on what one run of an agent may cost, whatever agents and calls are inside of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agentmetrics.calls.context import run_here
from agentmetrics.calls.facts import AgentRun, LLMCall
from agentmetrics.errors import BudgetExceeded
from agentmetrics.pipeline import CeilingOf
from agentmetrics.recording.fork import ForkSafeLock

PER_RUN = "run"
"""Both the name and the period of such a limit, in errors."""

_lock = ForkSafeLock()


def hold_to_run_limits(call: LLMCall, ceiling: CeilingOf) -> Callable[[LLMCall], None]:
    """The gate that refuses the LLM calls of runs that have cost their ``max_cost_usd``."""
    limited = [run for run in _around(call) if run.max_cost_usd is not None]
    for run in () if call.ended else limited:
        if run.max_cost_usd is not None and run.spent_usd >= run.max_cost_usd:
            scope = {"agent_name": run.agent_name}
            raise BudgetExceeded(PER_RUN, PER_RUN, scope, run.spent_usd, run.max_cost_usd, None)

    def settle(ended: LLMCall) -> None:
        if ended.cost_usd:
            with _lock:
                for run in limited:
                    run.spent_usd += ended.cost_usd

    return settle


def _around(call: LLMCall) -> Iterator[AgentRun]:
    """Every run that a call is inside of: by attribution, and by where it is made."""
    seen = set()
    for innermost in (call.run, run_here()):
        run = innermost
        while run is not None and id(run) not in seen:
            seen.add(id(run))
            yield run
            run = run.around
