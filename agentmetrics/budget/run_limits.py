"""Limits on what one run of an agent may cost, whatever agents and calls are inside of it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator

from agentmetrics.calls.context import current_run
from agentmetrics.calls.facts import AgentRun, LLMCall
from agentmetrics.calls.table import BoundOf, OpenCalls, open_calls
from agentmetrics.errors import BudgetExceeded
from agentmetrics.recording.recorder import Recorder

PER_RUN = "run"
"""Both the name and the period of such a limit, in errors."""


class RunLimits:
    """Refuses the LLM calls of runs that have cost their ``max_cost_usd``."""

    def __init__(self, recorder: Recorder) -> None:
        self._lock = threading.Lock()
        calls: OpenCalls = open_calls(recorder)
        calls.guard(self._admit)
        _all.add(self)

    def _admit(self, call: LLMCall, bound: BoundOf) -> Callable[[LLMCall], None]:
        limited = [run for run in _around(call) if run.max_cost_usd is not None]
        for run in limited:
            if run.max_cost_usd is not None and run.spent_usd >= run.max_cost_usd:
                scope = {"agent_name": run.agent_name}
                raise BudgetExceeded(PER_RUN, PER_RUN, scope, run.spent_usd, run.max_cost_usd, None)

        def settle(ended: LLMCall) -> None:
            if ended.cost_usd:
                with self._lock:
                    for run in limited:
                        run.spent_usd += ended.cost_usd

        return settle


def _around(call: LLMCall) -> Iterator[AgentRun]:
    """Every run that a call is inside of: by attribution, and by where it is made."""
    seen = set()
    for innermost in (call.run, current_run.get()):
        run = innermost
        while run is not None and id(run) not in seen:
            seen.add(id(run))
            yield run
            run = run.around


_all: weakref.WeakSet[RunLimits] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for limits in list(_all):
        limits._lock = threading.Lock()  # which a thread of the parent may have held


os.register_at_fork(after_in_child=_after_fork_in_child)
