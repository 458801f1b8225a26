"""The pipeline of a recorder: the one object that ties options, open calls, prices, gates, meters
and those who hear of finished calls.

In one module with its options and with ``pipeline_of``, since none of the three means anything
without the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib.metadata import version
from sys import modules
from time import perf_counter
from typing import Any, TypeVar

from agentmetrics.calls import log_points
from agentmetrics.calls.facts import KINDS, LIST, UNKNOWN, AgentRun, Ceiling, Fact, LLMCall, Scope
from agentmetrics.calls.failed import read_error
from agentmetrics.calls.outcome import ERROR, SUCCESS, status_of
from agentmetrics.calls.table import OpenTable, RunId
from agentmetrics.catalog import (
    BUILD_INFO,
    CATALOG,
    HANDLER_ERRORS,
    OPEN_RUNS,
    has_extra_labels,
    is_off,
)
from agentmetrics.errors import BudgetExceeded, ConfigurationError
from agentmetrics.meters.agent import AgentMeter
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.cache import CacheMeter
from agentmetrics.meters.ledger import LedgerMeter
from agentmetrics.meters.llm import LLMMeter
from agentmetrics.meters.retriever import RetrieverMeter
from agentmetrics.meters.routing import RoutingMeter
from agentmetrics.meters.system import Memory
from agentmetrics.meters.tool import ToolMeter
from agentmetrics.pricing import Prices
from agentmetrics.providers.costs import MAX_CALL_USD
from agentmetrics.providers.error_types import OTHER, error_type_of
from agentmetrics.recording import imports  # noqa: F401 - children begin them anew
from agentmetrics.recording.exemplars import OPENTELEMETRY, current_span, record_in
from agentmetrics.recording.exits import look_for_ends
from agentmetrics.recording.fork import (
    ForkAware,
    ForkSafeLock,
    notice_fork,
    renewed_lock,
    watch_forks,
)
from agentmetrics.recording.layers.cardinality import MAX_SERIES, CardinalityLimit, is_limited
from agentmetrics.recording.layers.selection import Selection
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import class_name, clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.summary import reading  # noqa: F401 - recorders show themselves by it

M = TypeVar("M")

CeilingOf = Callable[[], "Ceiling | None"]
"""Gives the most tokens that a call can use; ``None`` where nothing limits them."""
Gate = Callable[[LLMCall, CeilingOf], Callable[[LLMCall], None]]
"""Refuses a call with ``BudgetExceeded``, or returns what settles it once it has ended.

A call that has ``ended`` already was recorded afterwards: there is nothing to refuse."""
Hearer = Callable[[LLMCall], None]
"""Is given every LLM call that ends, once its metrics are recorded."""


_OF_THE_METRICS = (
    *("extra_labels", "extra_labels_for", "metrics_off"),
    *("latency_buckets", "buckets", "mb_aliases", "call_tokens"),
)
"""The options that say which metrics there are, with which labels and buckets."""


@dataclass(frozen=True)
class Options:
    """The options of a pipeline; the same for every recorder unless set otherwise.

    ``extra_labels`` names the user's own labels, which follow the labels of every ``extended``
    metric, or of those alone that ``extra_labels_for`` names, by groups of the catalogue or one by
    one. ``metrics_off`` names metrics that are not recorded; ``*`` stands for anything.
    ``latency_buckets`` are upper bounds in seconds for call latency and agent run duration,
    ``None`` for those of the catalogue; ``buckets`` are those of individual histograms, by name.
    ``mb_aliases`` is whether memory has its former names in MiB, too, and ``call_tokens`` whether
    the tokens of calls are recorded as a distribution. ``max_series`` is the maximum
    number of label sets per metric, and a call open for longer than ``call_ttl_seconds`` is counted
    as cancelled. ``default_agent_name`` is the agent of what nothing names one for. ``prices``
    provides the cost of calls; ``None`` for the price list alone.
    """

    extra_labels: tuple[str, ...] = ()
    extra_labels_for: tuple[str, ...] = ()
    metrics_off: tuple[str, ...] = ()
    latency_buckets: tuple[float, ...] | None = None
    buckets: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    mb_aliases: bool = True
    call_tokens: bool = False
    max_series: int = MAX_SERIES
    call_ttl_seconds: float = 21_600.0
    default_agent_name: str = UNKNOWN
    prices: Prices | None = None

    def instruments(self, recorder: Recorder) -> Instruments:
        """What makes the instruments of a recorder as these options ask."""
        names = self.extra_labels
        if self.extra_labels_for or self.metrics_off:
            recorder = selection = Selection(
                recorder,
                partial(is_off, patterns=self.metrics_off),
                self.extra_labels,
                partial(has_extra_labels, only=self.extra_labels_for),
            )
            names = selection.placeholders
        return Instruments(recorder, names, self.latency_buckets, self.buckets, self.max_series)


class Pipeline(ForkAware):
    """What happens at one recorder, from a call's start to its metrics.

    A recorder has one pipeline: ask for it with ``pipeline_of``. ``recorder`` here is the given one
    behind its cardinality limit, and all metrics of the catalogue are declared on it now.

    Raises ``ConfigurationError`` when the recorder has a pipeline already, or when it cannot take
    one of the catalogue's metrics.
    """

    def __init__(self, recorder: Recorder, options: Options | None = None) -> None:
        if recorder.anchor.pipeline is not None:
            raise ConfigurationError(f"this {type(recorder).__name__} already has a pipeline")
        self.options = options = options or _inherited(recorder) or _default_options()
        self.extra_labels = options.extra_labels
        declare_catalog(options.instruments(recorder))  # before a layer asks for one of its metrics
        limit = CardinalityLimit(recorder, options.max_series) if not is_limited(recorder) else None
        self.recorder = limited = limit or recorder
        self.make = options.instruments(limited)
        self._errors = self.make.counter(HANDLER_ERRORS)
        self.problems = LogOnce()
        self.prices = options.prices or Prices()
        self.prices.report_to(self._count_error)
        self.routing = RoutingMeter(self.make)
        self.caches = CacheMeter(self.make, options.extra_labels)
        self.ledger = LedgerMeter(self.make)
        memory = Memory(self.make, in_mb=options.mb_aliases)
        self.agents = AgentMeter(self.make, memory)
        self.tools = ToolMeter(self.make)
        self.retrievers = RetrieverMeter(self.make)
        self.llm = LLMMeter(
            self.make, self.prices, self.routing, memory, call_tokens=options.call_tokens
        )
        self._expect: dict[str, Callable[[Any], None]] = {
            "llm": self.llm.expect,
            "agent": self.agents.expect,
            "tool": self.tools.expect,
            "retriever": self.retrievers.expect,
        }
        self._meters: dict[Any, Any] = {}
        self._record: dict[str, Callable[[Any], None]] = {
            "agent": self.agents.record,
            "tool": self.tools.record,
            "retriever": self.retrievers.record,
            "chain": self._scope_ended,
        }
        self._recorded_by = dict(self._record)
        self.gates: tuple[Gate, ...] = ()
        self.is_watched = False
        """Whether a call's start has more to do than to open it: gates, or log points."""
        self.next_look = 0.0
        """When to ``look`` again, on the clock of the calls."""
        watch_forks(self)
        self._hearers: tuple[Hearer, ...] = ()
        self._fact_hearers: tuple[tuple[str, Callable[[Any], None]], ...] = ()
        self._changing = renewed_lock()  # some come and go while others do
        self._is_guarded = False
        self._tell()
        self._notes_spans = limited.keeps_exemplars
        self.table = OpenTable(
            self._hand_on, limited.update(), options.call_ttl_seconds, self._notes_spans
        )
        for gauge in (
            *(self.llm.in_flight, self.agents.in_flight, self.tools.in_flight),
            *(self.llm.oldest, self.agents.oldest),
        ):
            gauge.follow(self.table.open_facts)
        self.make.observe(OPEN_RUNS, self._open_runs)
        self.make.observe(BUILD_INFO, lambda: {(_version(),): 1.0})
        self.prices.watch()
        for anchor in (recorder.anchor, limited.anchor):
            anchor.pipeline = self
            anchor.is_off = partial(is_off, patterns=options.metrics_off)

    def _open_runs(self) -> dict[tuple[str, ...], float]:
        counts = dict.fromkeys(KINDS, 0.0)
        for fact in self.table.open_facts():
            counts[fact.kind] += 1
        return {(kind,): count for kind, count in counts.items()}

    def adopt(self, options: Options) -> None:
        """Take up other options, where the recorder is in use already.

        Raises ``ConfigurationError`` where they would change the metrics that are there, or their
        labels or buckets.
        """
        for name in _OF_THE_METRICS:
            old, new = getattr(self.options, name), getattr(options, name)
            if old != new:
                raise ConfigurationError(
                    f"this {type(self.recorder).__name__} is already in use with "
                    f"{name}={old!r}, not {new!r}: configure it before its first use"
                )
        if options.prices is not None and options.prices is not self.prices:
            self.prices = options.prices
            self.prices.report_to(self._count_error)
            self.llm.price_by(options.prices)
            options.prices.watch()
        self.make.max_series = options.max_series
        if isinstance(self.recorder, CardinalityLimit):
            self.recorder.max_series = options.max_series
        self.table.ttl_seconds = options.call_ttl_seconds
        self.options = replace(options, prices=options.prices or self.options.prices)

    def meter(self, kind: Callable[[Instruments], M]) -> M:
        """The one meter of this kind, made when first asked for: for meters of plugins."""
        with _making:
            if kind not in self._meters:
                self._meters[kind] = kind(self.make)
            found: M = self._meters[kind]
            return found

    # Who hears of calls, and who lets them through

    def subscribe(self, hear: Hearer) -> None:
        """Let ``hear`` have every LLM call that ends, once its metrics are recorded.

        An error that it raises counts as one of recording. Subscribing again changes nothing.
        """
        if hear not in self._hearers:
            self._hearers = (*self._hearers, hear)
            self._tell()

    def subscribe_to(self, kind: str, hear: Callable[[Any], None]) -> None:
        """Let ``hear`` have every fact of this kind that ends, once its metrics are recorded.

        ``kind`` is ``"agent"``, ``"tool"`` or ``"retriever"``; for LLM calls see ``subscribe``.
        Subscribing again changes nothing.
        """
        with self._changing:
            if (kind, hear) not in self._fact_hearers:
                self._fact_hearers = (*self._fact_hearers, (kind, hear))
                self._tell_of(kind)

    def unsubscribe_from(self, kind: str, hear: Callable[[Any], None]) -> None:
        """Let ``hear`` have no more facts of this kind."""
        with self._changing:
            self._fact_hearers = tuple(
                known for known in self._fact_hearers if known != (kind, hear)
            )
            self._tell_of(kind)

    def _tell_of(self, kind: str) -> None:
        record = self._recorded_by[kind]
        for of, hear in self._fact_hearers:
            if of == kind:
                record = _record_and_tell(record, hear)
        self._record[kind] = record

    def exchange(self, hear: Hearer, other: Hearer) -> None:
        """Let ``other`` have the calls in the place of ``hear``: each call has one of them."""
        self._hearers = tuple(other if known == hear else known for known in self._hearers)
        self._tell()

    def unsubscribe(self, hear: Hearer) -> None:
        """Let ``hear`` have no more calls."""
        self._hearers = tuple(known for known in self._hearers if known != hear)
        self._tell()

    def _tell(self) -> None:
        record: Callable[[LLMCall], None] = self.llm.record
        # Last, whoever came first: what is settled is in the ledger.
        for hear in (*self._hearers, _settle) if self._is_guarded else self._hearers:
            record = _record_and_tell(record, hear)
        self._record_llm = self._record["llm"] = record

    def guard(self, gate: Gate) -> None:
        """Ask ``gate`` before every LLM call from now on; asking for the same again changes
        nothing."""
        if gate not in self.gates:
            self._is_guarded = self.is_watched = True
            self._tell()
            self.gates = (*self.gates, gate)

    def unguard(self, gate: Gate) -> None:
        """Ask ``gate`` no more; the calls that it let through are settled when they end."""
        self.gates = tuple(known for known in self.gates if known != gate)

    # A call's life

    def look(self, now: float) -> None:
        """See whether log points are wanted by now, and how the process may end; to be called from
        ``next_look`` on, by whatever is recorded."""
        self.next_look = now + log_points.LOOK_SECONDS
        self.is_watched = bool(self.gates) or log_points.wanted()
        look_for_ends()

    def after_fork_in_child(self) -> None:
        self.next_look = 0.0  # a child's end is its own, and nothing is hooked into it yet

    def open_call(self, run_id: RunId, call: LLMCall, ceiling: CeilingOf) -> None:
        """Open an LLM call, if every gate lets it through; one that is open already stays.

        Raises ``BudgetExceeded`` when a gate refuses it. A gate that fails lets it through.
        """
        if call.started >= self.next_look:
            self.look(call.started)
        if self.is_watched and log_points.wanted():
            call.is_logged = True
            log_points.started(call)
        if self.gates and self.table.get(run_id) is None:
            self._admit(call, ceiling)
        if call.is_logged:
            log_points.requested(call)
        call.series = self.llm.expected.get(
            (call.agent_name, call.provider, call.model, call.extra)
        )
        if call.series is None:
            self.start(run_id, call)
        else:
            self.table.start(run_id, call)

    def start(self, run_id: RunId, fact: Fact) -> None:
        """Open a fact that no gate is asked about.

        What it takes to expect the first of its kind, such as to look up a price, is not its time.
        """
        began = perf_counter()
        self.expect(fact)
        fact.started += perf_counter() - began
        self.table.start(run_id, fact)

    def begin_run(self, scope: Scope, agent_name: str, extra: tuple[str, ...]) -> None:
        """Let an agent run begin with a scope; see ``OpenTable.begin_run``."""
        self.table.begin_run(scope, agent_name, extra)
        if scope.run is not None:
            self.expect(scope.run)

    def expect(self, fact: Fact) -> None:
        """Show what a fact like this one counts as 0 until it is counted.

        Prometheus' ``increase`` misses the first increment of a series that begins with it.
        """
        notice_fork()
        now = perf_counter()
        if now >= self.next_look:
            self.look(now)
        expect = self._expect.get(fact.kind)
        if expect is not None:
            try:
                expect(fact)
            except Exception as error:  # a backend that fails is not the agent's concern
                self.failed("record", error)

    def _admit(self, call: LLMCall, ceiling: CeilingOf) -> None:
        if self.table.abandoned:  # a call that is refused never comes into the table
            self.table.end_abandoned()
        try:
            self._ask_gates(call, ceiling)
        except BudgetExceeded as refused:
            _settle(call)
            if call.is_logged:
                log_points.refused(call, refused)
            raise

    def admit_unread(self, agent_name: str | None) -> None:
        """Ask the gates about a call that could not be opened, since its event was not understood.

        Raises ``BudgetExceeded``: what cannot be understood is no reason for a gate to open.
        """
        if self.gates:
            agent = agent_name or self.options.default_agent_name
            no_values = ("",) * len(self.extra_labels)
            call = LLMCall(agent, UNKNOWN, UNKNOWN, perf_counter(), None, no_values)
            self._admit(call, lambda: None)
            call.status, call.ended = ERROR, perf_counter()
            _settle(call)

    def _ask_gates(self, call: LLMCall, ceiling: CeilingOf) -> None:
        call.settle = ()
        for gate in self.gates:
            try:
                call.settle = (*call.settle, gate(call, ceiling))
            except BudgetExceeded:
                raise
            except Exception as error:
                self.failed("admit", error)

    def finish(self, fact: Fact, error: BaseException | None = None) -> None:
        """Record what was taken out of the table: a success, or what ``error`` makes of it."""
        fact.ended = perf_counter()
        if error is None:
            fact.status = SUCCESS
        else:
            self._read_error(fact, error)
        if isinstance(fact, LLMCall) and fact.cost_usd is not None:
            self._check_cost(fact)
        self._hand_on(fact)

    def _check_cost(self, call: LLMCall) -> None:
        """Leave out a cost that somebody told and that cannot be."""
        cost = call.cost_usd
        if cost is not None and not 0 <= cost <= MAX_CALL_USD:
            call.cost_usd, call.cost_source = None, LIST
            self.failed("cost", ValueError())

    def _read_error(self, fact: Fact, error: BaseException) -> None:
        try:
            status, error_type = status_of(error), error_type_of(error)
        except Exception as problem:  # somebody's own error, whose attributes raise
            self.failed("record", problem)
            status, error_type = ERROR, OTHER
        fact.status = status
        if isinstance(fact, LLMCall):
            doubt = read_error(fact, error)  # it may have a bill
            if doubt is not None:
                self.failed("record", doubt)
            if status == ERROR:
                fact.error_type = error_type

    def _hand_on(self, fact: Fact) -> None:
        try:
            if self._notes_spans and OPENTELEMETRY in modules:
                record_in(fact.span, self._record[fact.kind], fact)
            else:
                self._record[fact.kind](fact)
        except Exception as problem:  # a backend that fails is not the agent's concern
            self.failed("record", problem)
        if isinstance(fact, LLMCall):
            if fact.cost_usd is None and fact.status == SUCCESS:
                self._warn_unmetered(fact)
            if fact.is_logged:
                log_points.ended(fact)

    def _warn_unmetered(self, call: LLMCall) -> None:
        """Say once for each class of response and provider that it has no tokens, and what to do.

        To be asked about successes without a cost, which are few.
        """
        if call.is_unmetered and not call.cached:
            unread = call.unread
            self.problems.warn(
                ("unmetered", call.provider, unread),
                "no token counts%s from %s (%s): such calls are recorded without tokens and cost; "
                "%s",
                f" in {unread.response}" if unread.response else "",
                call.provider,
                call.model,
                unread.advice,
            )

    def record(self, fact: Fact) -> None:
        """Record a fact that was never open here: its times and its status were told."""
        if self._notes_spans:
            fact.span = current_span()
        self.expect(fact)
        if fact.run is not None:
            self.table.count_in_run(fact)
        if isinstance(fact, LLMCall):
            fact.is_logged = log_points.wanted()
            self._check_cost(fact)
            with suppress(BudgetExceeded):  # too late to refuse it
                self._ask_gates(fact, lambda: None)
        self._hand_on(fact)

    def succeed(self, call: LLMCall) -> None:
        """What ``finish`` does for an LLM call without an error, which is nearly every one."""
        call.ended = perf_counter()
        call.status = SUCCESS
        if call.cost_usd is not None:
            self._check_cost(call)
        if self._notes_spans and OPENTELEMETRY in modules:
            record_in(call.span, self._record_llm, call)
        else:
            self._record_llm(call)
        if call.cost_usd is None:
            self._warn_unmetered(call)
        if call.is_logged:
            log_points.ended(call)

    def _scope_ended(self, scope: Scope) -> None:
        if scope.began and scope.run is not None:
            run: AgentRun = scope.run
            run.status, run.ended = scope.run_status, scope.ended
            self._record["agent"](run)

    def failed(self, event: str, error: Exception) -> None:
        """Count an event that was not understood; each kind is logged once, without its text.

        The text of a ``ConfigurationError`` is our own, and says what to do.
        """
        with suppress(Exception):  # it may be the backend itself that fails
            self._count_error(event)
        name = clean_label(class_name(error))
        ours = issubclass(type(error), ConfigurationError)
        said = str(error) if ours else name
        self.problems.warn((event, name), "could not fully record %s: %s", event, said)

    def _count_error(self, event: str) -> None:
        self._errors.labels(event).inc()


@cache
def _version() -> str:
    return version("llm-agentmetrics")


def declare_catalog(make: Instruments) -> None:
    """Take note of all metrics now, so that a name that is taken stops the program at the start.

    Raises ``ConfigurationError``.
    """
    try:
        for metric in CATALOG:
            make.declare(metric)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


def _record_and_tell(record: Hearer, hear: Hearer) -> Hearer:
    def both(call: LLMCall) -> None:
        try:
            record(call)
        finally:  # a backend that fails is no reason to forget what the call cost
            hear(call)

    return both


def _settle(call: LLMCall) -> None:
    settle, call.settle = call.settle, ()
    for each in settle:
        each(call)


# The one pipeline of a recorder

_making = ForkSafeLock()
_default_options: Callable[[], Options] = Options


def default_options(ask: Callable[[], Options]) -> None:
    """Let pipelines that are given no options have what ``ask`` returns."""
    global _default_options
    _default_options = ask


def pipeline_of(recorder: Recorder, options: Options | None = None) -> Pipeline:
    """The one pipeline of a recorder, made when first asked for.

    Without ``options`` it has those of the pipeline of a recorder inside it, else those that are
    configured for the process. Recorders that share series share a pipeline. Raises
    ``ConfigurationError`` when the recorder cannot take a metric of the catalogue, and when it is
    in use already with other labels or buckets.
    """
    found = recorder.anchor.pipeline
    if not isinstance(found, Pipeline):
        with _making:
            found = recorder.anchor.pipeline  # somebody may have been faster
            if not isinstance(found, Pipeline):
                try:
                    return Pipeline(recorder, options)
                except ConfigurationError:
                    found = recorder.anchor.pipeline
                    if not isinstance(found, Pipeline):  # which a signal handler has made
                        raise
    if options is not None:
        found.adopt(options)
    return found


def _inherited(recorder: Recorder) -> Options | None:
    for inner in recorder.inner:
        found = inner.anchor.pipeline
        options = found.options if isinstance(found, Pipeline) else _inherited(inner)
        if options is not None:
            return options
    return None
