"""What is in flight, and how each call, tool execution, query and run ends exactly once.

LangChain sends nothing when a bare ``ainvoke`` is cancelled: a start, then silence. But the
run id is an object that the run manager holds for as long as the run is alive, so a weak
reference to it notices. The reference's callback can come at any instruction, inside any lock,
so it only takes a note; the note is acted upon at the next event and at every collection.
"""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from time import perf_counter
from typing import Any, Protocol

from agentmetrics.calls.facts import (
    AgentRun,
    Bound,
    ChainRun,
    Fact,
    LLMCall,
    RetrieverQuery,
    ToolExecution,
)
from agentmetrics.calls.outcome import (
    CANCELLED,
    ERROR,
    INTERRUPTED,
    OTHER,
    SUCCESS,
    error_type_of,
    status_of,
)
from agentmetrics.catalog import HANDLER_ERRORS, OPEN_RUNS
from agentmetrics.errors import BudgetExceeded
from agentmetrics.meters.agent import AgentMeter
from agentmetrics.meters.llm import LLMMeter
from agentmetrics.meters.retriever import RetrieverMeter
from agentmetrics.meters.tool import ToolMeter
from agentmetrics.recording.layers.cardinality import limited
from agentmetrics.recording.recorder import Recorder

logger = logging.getLogger("agentmetrics")

SWEEPS_PER_TTL = 20

_KINDS = {
    ChainRun: "chain",
    AgentRun: "agent",
    LLMCall: "llm",
    ToolExecution: "tool",
    RetrieverQuery: "retriever",
}
_INSIDE_CHAINS = (ToolExecution, RetrieverQuery)


BoundOf = Callable[[], "Bound | None"]
"""Gives the most tokens that a call can use; ``None`` where nothing bounds them."""
Gate = Callable[[LLMCall, BoundOf], Callable[[LLMCall], None]]
"""Refuses a call with ``BudgetExceeded``, or returns what is to be told once it has ended."""


class RunId(Protocol):
    """What LangChain's run ids are to us: a number, and an object that lives as long as the run."""

    @property
    def int(self) -> int: ...


class OwnRunId:
    """The run id of a call that does not come from LangChain; below 0, where no UUID is."""

    __slots__ = ("__weakref__", "int")

    _numbers = itertools.count(-1, -1)

    def __init__(self) -> None:
        self.int = next(self._numbers)


class _Open(weakref.ref):  # type: ignore[type-arg]
    """An open fact: a weak reference to its run id, with the id's number."""

    __slots__ = ("fact", "key")

    fact: Fact
    key: int


class OpenCalls:
    """The table of what is in flight at one recorder; a call that many sources see is one."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.extra_labels = recorder.extra_labels
        llm, agents = recorder.attached(LLMMeter), recorder.attached(AgentMeter)
        tools, retrievers = recorder.attached(ToolMeter), recorder.attached(RetrieverMeter)
        self._llm = llm
        self._record_llm: Callable[[LLMCall], None] = llm.record
        self._hearers: tuple[Callable[[LLMCall], None], ...] = ()
        self._is_guarded = False
        self._record: dict[type, Callable[[Any], None]] = {
            LLMCall: llm.record,
            AgentRun: agents.record,
            ToolExecution: tools.record,
            RetrieverQuery: retrievers.record,
            ChainRun: self._chain_ended,
        }
        self.gates: tuple[Gate, ...] = ()
        self._step = recorder.update()
        self._open: dict[int, _Open] = {}
        self._ended: dict[int, _Open] = {}  # chains and tools, of which something may go on
        self._abandoned: deque[tuple[_Open, float]] = deque()
        self._settling = threading.RLock()
        self._ttl_seconds = recorder.call_ttl_seconds
        self._next_sweep = 0.0
        self._errors = recorder.counter(HANDLER_ERRORS)
        self._errors_seen: set[tuple[str, type]] = set()
        self._note = self._abandon  # one bound method for all references
        for in_flight in (llm.in_flight, agents.in_flight, tools.in_flight):
            in_flight.follow(self.open_facts)
        recorder.observe_gauge(OPEN_RUNS, self._count)
        _tables.add(self)

    def subscribe(self, hear: Callable[[LLMCall], None]) -> None:
        """Let ``hear`` have every LLM call that ends, once its metrics are recorded.

        An error that it raises counts as one of recording.
        """
        self._tell((*self._hearers, hear))

    def unsubscribe(self, hear: Callable[[LLMCall], None]) -> None:
        """Tell ``hear`` of no more calls."""
        self._tell(tuple(known for known in self._hearers if known != hear))

    def _tell(self, hearers: tuple[Callable[[LLMCall], None], ...]) -> None:
        self._hearers = hearers
        record: Callable[[LLMCall], None] = self._llm.record
        # Last, whoever came first: what is settled is in the ledger.
        for hear in (*hearers, _settle) if self._is_guarded else hearers:
            record = _record_and_tell(record, hear)
        self._record_llm = self._record[LLMCall] = record

    def guard(self, gate: Gate) -> None:
        """Ask ``gate`` before every LLM call from now on."""
        if not self._is_guarded:
            self._is_guarded = True
            self._tell(self._hearers)
        self.gates = (*self.gates, gate)

    def unguard(self, gate: Gate) -> None:
        """Ask ``gate`` no more; the calls that it let through are settled when they end."""
        self.gates = tuple(known for known in self.gates if known != gate)

    def admit(self, call: LLMCall, bound: BoundOf) -> None:
        """Let every gate have its say; to be called before ``start`` where there are ``gates``.

        Raises ``BudgetExceeded`` when one refuses the call. A gate that fails lets it through.
        """
        if self._abandoned:  # a call that is refused never comes to ``start``
            self.settle()
        call.settle = ()
        for gate in self.gates:
            try:
                call.settle = (*call.settle, gate(call, bound))
            except BudgetExceeded:
                _settle(call)
                raise
            except Exception as error:
                self.failed("admit", error)

    def start(self, run_id: RunId, fact: Fact) -> None:
        """Open a call; it ends with ``finish``, or when ``run_id`` is let go."""
        if self._abandoned:
            self.settle()
        opened = _Open(run_id, self._note)
        opened.fact = fact
        key = opened.key = run_id.int
        # Another handler may have seen it first.
        if self._open.setdefault(key, opened) is opened and fact.run is not None:
            self._count_in_run(fact)

    def _count_in_run(self, fact: Fact) -> None:
        # At the start: a call that is abandoned may end after its run.
        with self._step:
            if isinstance(fact, LLMCall) and fact.run is not None:
                fact.run.llm_calls += 1
            elif isinstance(fact, ToolExecution) and fact.run is not None:
                fact.run.tool_calls += 1

    def begin_run(self, chain: ChainRun, agent_name: str, extra: tuple[str, ...]) -> None:
        """Let an agent run begin, and later end, with a chain; unless one has begun with it."""
        run = AgentRun(agent_name, chain.started, extra)
        run.config_unseen = bool(extra)
        with self._step:  # nodes of a graph may start in several threads at once
            if not chain.began:
                chain.run, chain.began = run, True

    def _chain_ended(self, chain: ChainRun) -> None:
        if chain.interrupted and chain.status == SUCCESS:
            chain.status = INTERRUPTED
        if chain.began and chain.run is not None:
            chain.run.status, chain.run.ended = chain.status, chain.ended
            self._record[AgentRun](chain.run)

    def get(self, run_id: RunId) -> Fact | None:
        """What is open under this id."""
        opened = self._open.get(run_id.int)
        return None if opened is None else opened.fact

    def scope(self, run_id: RunId) -> ChainRun | None:
        """The chain that a child of this run is in, be it over or not.

        A task in the background may make its call when the graph is over that started the task.
        """
        key = run_id.int
        opened = self._open.get(key) or self._ended.get(key)
        return None if opened is None else _scope_for_children(opened.fact)

    def leave(self, run_id: RunId) -> Fact | None:
        """``take`` for what others can be in: they still find it, for as long as the id lives."""
        opened = self._open.pop(run_id.int, None)
        if opened is None:
            return None
        scope = _scope_for_children(opened.fact)
        if scope is not None and scope.run is not None:
            self._ended[opened.key] = opened
        return opened.fact

    def take(self, run_id: RunId) -> Fact | None:
        """Take a call out of the table to finish it; ``None`` when it has ended or never began."""
        opened = self._open.pop(run_id.int, None)
        return None if opened is None else opened.fact

    def finish(self, fact: Fact, error: BaseException | None = None) -> None:
        """Record a call that was taken out: a success, or what ``error`` makes of it."""
        fact.ended = perf_counter()
        if error is None:
            fact.status = SUCCESS
        else:
            self._read_error(fact, error)
        self._hand_on(fact)

    def _read_error(self, fact: Fact, error: BaseException) -> None:
        try:
            status, error_type = status_of(error), error_type_of(error)
        except Exception as problem:  # somebody's own error, whose attributes raise
            self.failed("record", problem)
            status, error_type = ERROR, OTHER
        fact.status = status
        if status == ERROR and isinstance(fact, LLMCall):
            fact.error_type = error_type

    def _hand_on(self, fact: Fact) -> None:
        try:
            self._record[type(fact)](fact)
        except Exception as problem:  # a backend that fails is not the agent's concern
            self.failed("record", problem)

    def succeed(self, call: LLMCall) -> None:
        """What ``finish`` does for an LLM call without an error, which is nearly every one."""
        call.ended = perf_counter()
        call.status = SUCCESS
        self._record_llm(call)

    def failed(self, event: str, error: Exception) -> None:
        """Count an event that was not understood; each kind is logged once, without its text."""
        with suppress(Exception):  # it may be the backend itself that fails
            self._errors.labels(event).inc()
        kind = (event, type(error))
        if kind not in self._errors_seen:
            self._errors_seen.add(kind)
            logger.warning("could not record all of %s: %s", event, type(error).__name__)

    def _abandon(self, opened: _Open) -> None:
        self._abandoned.append((opened, perf_counter()))

    def settle(self) -> None:
        """End, as cancelled, what was abandoned and what is older than the time to live."""
        with self._settling:
            while self._abandoned:
                self._cancel(*self._abandoned.popleft())
            now = perf_counter()
            if now >= self._next_sweep:
                self._next_sweep = now + self._ttl_seconds / SWEEPS_PER_TTL
                self._sweep(now)

    def _sweep(self, now: float) -> None:
        for opened in list(self._open.values()):  # in the order they were opened
            if now - opened.fact.started < self._ttl_seconds:
                break
            self._cancel(opened, now)
        for opened in list(self._ended.values()):  # in the order they ended
            if now - opened.fact.ended < self._ttl_seconds:
                break
            self._ended.pop(opened.key, None)

    def _cancel(self, opened: _Open, ended: float) -> None:
        key = opened.key  # under which another run may have begun since
        if self._ended.get(key) is opened:
            self._ended.pop(key, None)
        elif self._open.get(key) is opened and self._open.pop(key, None) is not None:
            fact = opened.fact
            fact.status, fact.ended = CANCELLED, ended
            self._hand_on(fact)

    def open_facts(self) -> Iterator[Fact]:
        """Everything that is open now, after what was abandoned has ended."""
        self.settle()
        for opened in list(self._open.values()):
            yield opened.fact
            if isinstance(opened.fact, ChainRun) and opened.fact.began and opened.fact.run:
                yield opened.fact.run

    def _count(self) -> dict[tuple[str, ...], float]:
        tally = Tally(_KINDS[type(fact)] for fact in self.open_facts())
        return {(kind,): float(tally[kind]) for kind in _KINDS.values()}

    def forget(self) -> None:
        """Let go of everything unrecorded: in a forked child it is the parent's to end."""
        self._open.clear()
        self._ended.clear()
        self._abandoned.clear()
        self._settling = threading.RLock()


def _record_and_tell(
    record: Callable[[LLMCall], None], hear: Callable[[LLMCall], None]
) -> Callable[[LLMCall], None]:
    def both(call: LLMCall) -> None:
        try:
            record(call)
        finally:  # a backend that fails is no reason to forget what the call cost
            hear(call)

    return both


def _scope_for_children(fact: Fact) -> ChainRun | None:
    if type(fact) is ChainRun:
        return fact
    return fact.scope if isinstance(fact, _INSIDE_CHAINS) else None


def _settle(call: LLMCall) -> None:
    settle, call.settle = call.settle, ()
    for told in settle:
        told(call)


def open_calls(recorder: Recorder) -> OpenCalls:
    """The one table of a recorder, behind its cardinality limit."""
    return limited(recorder).attached(OpenCalls)


_tables: weakref.WeakSet[OpenCalls] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for table in _tables:
        table.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
