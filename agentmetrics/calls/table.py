"""What is in flight, and how each call, tool execution, query and run is let go of exactly once.

A framework may say nothing of a call that was cancelled: a start, then silence. But its run id is
an object that is held for as long as the run is alive, so a weak reference to it notices. The
reference's callback can come at any instruction, inside any lock, so it only takes a note; the
note is acted upon at the next event and at every collection.
"""

from __future__ import annotations

import itertools
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from sys import modules
from time import perf_counter
from typing import Any, Protocol

from agentmetrics.calls.facts import AgentRun, Fact, LLMCall, Scope, ToolExecution
from agentmetrics.calls.outcome import CANCELLED
from agentmetrics.recording.collector import COLLECTING, is_collecting
from agentmetrics.recording.exemplars import OPENTELEMETRY, current_span
from agentmetrics.recording.exits import end_at_exit
from agentmetrics.recording.fork import (
    NOTICED,
    ForkAware,
    notice_fork,
    renewed_lock,
    watch_forks,
    within,
)
from agentmetrics.recording.said import later

SWEEPS_PER_TTL = 20
ENDING_WAITS_SECONDS = 0.1
"""How long another thread is waited for that ends what was abandoned: a moment only, since that may
want a lock which this thread holds, where a signal handler or the collector has come here."""


class RunId(Protocol):
    """What run ids are to us: a number, and an object that lives as long as the run."""

    @property
    def int(self) -> int: ...


class OwnRunId:
    """The run id of what comes from no framework; below 0, where no UUID is."""

    __slots__ = ("__weakref__", "int")

    _numbers = itertools.count(-1, -1)

    def __init__(self) -> None:
        self.int = next(self._numbers)


class _Open(weakref.ref):  # type: ignore[type-arg]
    """An open fact: a weak reference to its run id, with the id's number."""

    __slots__ = ("fact", "key")

    fact: Fact
    key: int


class OpenTable(ForkAware):
    """What is open in one pipeline; a call that many sources see is one.

    ``record`` is given what was abandoned, or is older than ``ttl_seconds``, as cancelled. ``step``
    is the recorder's update, under which counts in a run change. With ``notes_spans``, facts note
    the span that they begin in.
    """

    def __init__(
        self,
        record: Callable[[Fact], None],
        step: AbstractContextManager[Any],
        ttl_seconds: float,
        notes_spans: bool = False,
    ) -> None:
        self._record, self._step = record, step
        self.ttl_seconds = ttl_seconds
        self._notes_spans = notes_spans
        self._open: dict[int, _Open] = {}
        self._ended: dict[int, _Open] = {}  # scopes and tools, of which something may go on
        self.abandoned: deque[tuple[_Open, float]] = deque()
        self._ending = renewed_lock()
        self._next_sweep = 0.0
        self._note = self._abandon  # one bound method for all references
        watch_forks(self)
        end_at_exit(self)

    def start(self, run_id: RunId, fact: Fact) -> None:
        """Open a fact; it ends when it is taken out, or when ``run_id`` is let go."""
        if not NOTICED[0]:
            notice_fork()
        if self.abandoned:
            self.end_abandoned()
        if self._notes_spans and OPENTELEMETRY in modules:
            fact.span = current_span()
        opened = _Open(run_id, self._note)
        opened.fact = fact
        key = opened.key = run_id.int
        if type(key) is not int:  # somebody's own, whose hash may do anything
            raise TypeError("no run id")
        # Another handler may have seen it first.
        if self._open.setdefault(key, opened) is opened and fact.run is not None:
            self.count_in_run(fact)

    def count_in_run(self, fact: Fact) -> None:
        """Count a call or a tool execution in the run that it is in."""
        # At the start: a call that is abandoned may end after its run.
        with self._step:
            if isinstance(fact, LLMCall) and fact.run is not None:
                fact.run.llm_calls += 1
            elif isinstance(fact, ToolExecution) and fact.run is not None:
                fact.run.tool_calls += 1

    def begin_run(self, scope: Scope, agent_name: str, extra: tuple[str, ...]) -> None:
        """Let an agent run begin, and later end, with a scope; unless one has begun with it."""
        if not NOTICED[0]:
            notice_fork()
        run = AgentRun(agent_name, scope.started, extra)
        run.extra_is_open = bool(extra)
        with self._step:  # nodes of a graph may start in several threads at once
            if not scope.began:
                scope.run, scope.began = run, True

    def get(self, run_id: RunId) -> Fact | None:
        """What is open under this id."""
        if not NOTICED[0]:
            notice_fork()
        opened = self._open.get(run_id.int)  # written out: at() would tell, for every token
        return None if opened is None else opened.fact

    def at(self, number: int) -> Fact | None:
        """What is open under the id of this number."""
        if not NOTICED[0]:
            notice_fork()
        opened = self._open.get(number)
        return None if opened is None else opened.fact

    def scope(self, run_id: RunId) -> Scope | None:
        """The scope of what begins in this run, be it over or not.

        A task in the background may make its call when the graph is over that started the task.
        """
        if not NOTICED[0]:
            notice_fork()
        key = run_id.int
        opened = self._open.get(key) or self._ended.get(key)
        return None if opened is None else _inside(opened.fact)

    def leave(self, run_id: RunId) -> Fact | None:
        """``take`` for what others can be in: they still find it, for as long as the id lives."""
        if not NOTICED[0]:
            notice_fork()
        if COLLECTING[0] and is_collecting():
            self._note_end(run_id)
            return None
        opened = self._open.pop(run_id.int, None)
        if opened is None:
            return None
        scope = _inside(opened.fact)
        if scope is not None and scope.run is not None:
            self._ended[opened.key] = opened
        return opened.fact

    def take(self, run_id: RunId) -> Fact | None:
        """Take a fact out of the table to finish it; ``None`` when it has ended or never began.

        ``None`` as well for what the garbage collector ends, which is cancelled at the next event.
        """
        if not NOTICED[0]:
            notice_fork()
        if COLLECTING[0] and is_collecting():
            self._note_end(run_id)
            return None
        opened = self._open.pop(run_id.int, None)
        return None if opened is None else opened.fact

    def _note_end(self, run_id: RunId) -> None:
        opened = self._open.get(run_id.int)
        if opened is not None:
            self._abandon(opened)

    def _abandon(self, opened: _Open) -> None:
        self.abandoned.append((opened, perf_counter()))

    def end_abandoned(self) -> None:
        """End, as cancelled, what was abandoned and what is older than the time to live."""
        notice_fork()
        with later(), within(ENDING_WAITS_SECONDS, self._ending) as is_held:
            if not is_held:
                return
            with suppress(IndexError):  # or who came here in the middle of this has ended it
                while self.abandoned:
                    self._cancel(*self.abandoned.popleft())
            now = perf_counter()
            if now >= self._next_sweep:
                self._next_sweep = now + self.ttl_seconds / SWEEPS_PER_TTL
                self._sweep(now)

    def _sweep(self, now: float) -> None:
        for opened in list(self._open.values()):  # in the order they were opened
            if now - opened.fact.started < self.ttl_seconds:
                break
            self._cancel(opened, now)
        for opened in list(self._ended.values()):  # in the order they ended
            if now - opened.fact.ended < self.ttl_seconds:
                break
            self._ended.pop(opened.key, None)

    def end_all(self) -> None:
        """End everything, as cancelled: the process ends. The youngest first, since a run adds up
        what happened in it."""
        with later():
            self.end_abandoned()
            for opened in reversed(list(self._open.values())):
                self._cancel(opened, perf_counter())

    def _cancel(self, opened: _Open, ended: float) -> None:
        key = opened.key  # under which another run may have begun since
        if self._ended.get(key) is opened:
            self._ended.pop(key, None)
        elif self._open.get(key) is opened and self._open.pop(key, None) is not None:
            fact = opened.fact
            fact.status, fact.ended = CANCELLED, ended
            self._record(fact)

    def open_facts(self) -> Iterator[Fact]:
        """Everything that is open now, after what was abandoned has ended."""
        self.end_abandoned()
        for opened in list(self._open.values()):
            if opened() is None:  # and no note of it: whoever took that was told to stop just then
                self._cancel(opened, perf_counter())
                continue
            yield opened.fact
            if isinstance(opened.fact, Scope) and opened.fact.began and opened.fact.run:
                yield opened.fact.run

    def after_fork_in_child(self) -> None:
        """Let go of everything unrecorded: it is the parent's to end."""
        self._open.clear()
        self._ended.clear()
        self.abandoned.clear()


def _inside(fact: Fact) -> Scope | None:
    return getattr(fact, "inside", None)
