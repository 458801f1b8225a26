"""The last finished runs of each agent, heard of while somebody looks, and which are odd."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from agentmetrics.calls.facts import AgentRun
from agentmetrics.calls.outcome import CANCELLED, ERROR, INTERRUPTED, SUCCESS
from agentmetrics.pipeline import Pipeline
from agentmetrics.recording.fork import renewed_lock
from agentmetrics.recording.metric import clean_label

MOST_RUNS = 200
"""Of each agent; the latest."""
MOST_AGENTS = 100
"""Those of which a run has ended latest."""
LET_GO_SECONDS = 30.0
"""After the last look; looks are a second or two apart."""
STATUSES = (SUCCESS, ERROR, CANCELLED, INTERRUPTED)
ODD_FACTOR, ODD_SHARE = 2.0, 0.8
"""A run is slow, or dear, from twice what four of five of those that are shown stay within. Where
every third is slow, that is how the agent is, and none of them is odd."""
ODD_RUNS = 5
"""Among fewer nothing is usual."""


class Run(NamedTuple):
    """A finished run, without anything of what it was about."""

    ended: float
    """Unix time."""
    seconds: float
    calls: int
    tools: int
    tokens: int
    usd: float
    """Of calls whose price is known."""
    status: str


class Kept(NamedTuple):
    """What there is after a run's number."""

    number: int
    """Of the latest run."""
    since: float
    """Unix time at which somebody began to look."""
    runs: Mapping[str, Sequence[tuple[int, Run]]]
    """By agent, and every agent that has runs: new ones or not."""


_Heard = tuple[int, float, float, int, int, int, float, str]
"""A run's number, when it began and ended on the clock of the calls, and what else is known."""


class LastRuns:
    """Hears of runs that end from the first look on, until some seconds after the last.

    No timer and no thread lets go: the first run that ends too late does. In between, what a run
    costs more is a few numbers in a ring. A child of a fork, which nobody looks at, lets go alike.
    """

    def __init__(self, pipeline: Callable[[], Pipeline | None]) -> None:
        """``pipeline`` gives the one to hear of, as soon as there is one."""
        self._pipeline_there = pipeline
        self._heard: Pipeline | None = None
        self._runs: OrderedDict[str, deque[_Heard]] = OrderedDict()
        self._number = 0
        self._since, self._until = 0.0, 0.0
        self._lock = renewed_lock()

    def look(self) -> None:
        """Hear of the runs that end from now on, if not already."""
        with self._lock:
            self._until = time.perf_counter() + LET_GO_SECONDS
            if self._heard is None:
                self._heard = self._pipeline_there()
                self._since = time.time()
                if self._heard is not None:
                    self._heard.subscribe_to(AgentRun.kind, self._hear)

    def after(self, number: int) -> Kept:
        """The runs after the one with this number."""
        with self._lock:
            new = {
                agent: [*takewhile(lambda each: each[0] > number, reversed(runs))]
                for agent, runs in self._runs.items()
            }
            latest, since = self._number, self._since
        offset = time.time() - time.perf_counter()
        told: dict[str, list[tuple[int, Run]]] = {}
        for agent, runs in new.items():
            told.setdefault(clean_label(agent), []).extend(
                (heard[0], _run(heard, offset)) for heard in reversed(runs)
            )
        # Two names may be one as they are shown.
        return Kept(latest, since, {agent: sorted(runs) for agent, runs in told.items()})

    def _hear(self, run: AgentRun) -> None:
        """In the program's own time: what can be done when somebody looks is done then."""
        with self._lock:
            if run.ended > self._until:
                self._let_go()
                return
            agent = run.agent_name
            runs = self._runs.get(agent)
            if runs is None:
                if len(self._runs) >= MOST_AGENTS:
                    self._runs.popitem(last=False)
                runs = self._runs[agent] = deque(maxlen=MOST_RUNS)
            else:
                self._runs.move_to_end(agent)
            self._number = number = self._number + 1
            runs.append(
                (
                    number, run.started, run.ended, run.llm_calls, run.tool_calls, run.tokens,
                    run.cost_usd, run.status,
                )
            )  # fmt: skip

    def _let_go(self) -> None:
        if self._heard is not None:
            self._heard.unsubscribe_from(AgentRun.kind, self._hear)
            self._heard = None
        self._runs.clear()


def _run(heard: _Heard, offset: float) -> Run:
    _, started, ended, calls, tools, tokens, usd, status = heard
    return Run(ended + offset, max(0.0, ended - started), calls, tools, tokens, usd, status)


def odd(runs: Sequence[Run]) -> list[tuple[Run, tuple[str, ...]]]:
    """The runs that stand out, each with why: ``slow``, ``dear``, or its status."""
    slow = _limit([run.seconds for run in runs])
    dear = _limit([run.usd for run in runs])
    found = []
    for run in runs:
        why = [run.status] if run.status != SUCCESS else []
        why += ["slow"] if run.seconds >= slow else []
        why += ["dear"] if run.usd >= dear else []
        if why:
            found.append((run, tuple(why)))
    return found


def _limit(values: Sequence[float]) -> float:
    if len(values) < ODD_RUNS:
        return float("inf")
    usual = sorted(values)[math.ceil(ODD_SHARE * len(values)) - 1]
    return ODD_FACTOR * usual or float("inf")
