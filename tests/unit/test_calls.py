"""What is in flight, and how it ends exactly once."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from agentmetrics import (
    BudgetExceeded,
    MemoryRecorder,
    MetricsCallbackHandler,
    PrometheusRecorder,
)
from agentmetrics import pipeline as pipeline_module
from agentmetrics.calls import table as table_module
from agentmetrics.calls.facts import AgentRun, LLMCall, RetrieverQuery, ToolExecution
from agentmetrics.calls.table import OwnRunId
from agentmetrics.meters import in_flight
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.providers.usage import Usage
from agentmetrics.sources.langchain.callbacks.scope import ChainRun
from tests.unit.scripted import assert_settled, by, errors, runs
from tests.unit.test_store import in_a_child


class Clock:
    """``perf_counter`` as a test sets it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """In every test, since the true one may say any number: it counts from the machine's start."""
    clock = Clock()
    for module in (table_module, pipeline_module, in_flight):
        monkeypatch.setattr(module, "perf_counter", clock)
    return clock


@pytest.fixture
def recorder() -> MemoryRecorder:
    """Not the configured one: whoever records in it was given it."""
    return MemoryRecorder()


@pytest.fixture
def pipeline(recorder):
    return pipeline_of(recorder)


@pytest.fixture
def table(pipeline):
    return pipeline.table


def llm_call(started: float = 1000.0) -> LLMCall:
    call = LLMCall("planner", "openai", "gpt-4o", started)
    call.usage = Usage(10, 5)
    return call


FACTS: dict[str, Callable[[], Any]] = {
    "llm": llm_call,
    "agent": lambda: AgentRun("planner", 1000.0),
    "tool": lambda: ToolExecution("planner", "search", 1000.0),
    "retriever": lambda: RetrieverQuery("planner", "shelf", 1000.0),
    "chain": lambda: ChainRun("chain", 1000.0),
}
FINISHED = {
    "llm": "llm_calls_total",
    "agent": "agent_runs_total",
    "tool": "tool_executions_total",
    "retriever": "retriever_queries_total",
}


OLDEST = {
    "llm": "llm_oldest_active_call_seconds",
    "agent": "agent_oldest_active_run_seconds",
}


def ages(recorder, name: str) -> dict[str, float]:
    """What is shown, zeros included."""
    return {s.labels["agent_name"]: s.value for s in recorder.samples() if s.name == name}


class TestTheOldest:
    @pytest.mark.parametrize("kind", OLDEST)
    def test_the_oldest_that_is_open_gives_its_age_by_agent(
        self, pipeline, recorder, table, clock, kind
    ):
        first, second, other = FACTS[kind](), FACTS[kind](), FACTS[kind]()
        second.started, other.started, other.agent_name = 1004.0, 1007.0, "writer"
        opened = [(OwnRunId(), fact) for fact in (second, first, other)]
        for run_id, fact in opened:
            table.start(run_id, fact)
        clock.now = 1010.0
        assert ages(recorder, OLDEST[kind]) == {"planner": 10.0, "writer": 3.0}
        pipeline.finish(table.take(opened[1][0]))
        assert ages(recorder, OLDEST[kind]) == {"planner": 6.0, "writer": 3.0}

    @pytest.mark.parametrize("kind", OLDEST)
    def test_the_oldest_is_exactly_0_where_nothing_is_open_any_more(
        self, pipeline, recorder, table, clock, kind
    ):
        assert ages(recorder, OLDEST[kind]) == {}
        run_id = OwnRunId()
        table.start(run_id, FACTS[kind]())
        clock.now = 1010.0
        pipeline.finish(table.take(run_id))
        clock.now = 1020.0
        assert ages(recorder, OLDEST[kind]) == {"planner": 0.0}

    def test_the_oldest_run_of_a_graph_is_the_one_that_its_scope_began(
        self, recorder, table, clock
    ):
        run_id, scope = OwnRunId(), ChainRun("graph", 1000.0)
        table.begin_run(scope, "planner", ())
        table.start(run_id, scope)
        clock.now = 1005.0
        assert ages(recorder, OLDEST["agent"]) == {"planner": 5.0}

    def test_the_oldest_past_the_limit_of_series_is_the_oldest_of_them(self, clock):
        recorder = MemoryRecorder()
        table = pipeline_of(recorder, Options(max_series=1)).table
        opened = []
        for started, agent in ((1000.0, "a"), (1002.0, "b"), (1001.0, "c")):
            call = llm_call(started)
            call.agent_name = agent
            opened.append(OwnRunId())
            table.start(opened[-1], call)
        clock.now = 1010.0
        assert ages(recorder, OLDEST["llm"]) == {"a": 10.0, "other": 9.0}

    def test_the_oldest_has_no_extra_labels(self, clock):
        recorder = MemoryRecorder()
        table = pipeline_of(recorder, Options(extra_labels=("tenant",))).table
        run_id, call = OwnRunId(), llm_call()
        call.extra = ("acme",)
        table.start(run_id, call)
        clock.now = 1001.0
        assert ages(recorder, OLDEST["llm"]) == {"planner": 1.0}

    def test_the_oldest_is_its_parents_after_a_fork(self, recorder, table, clock):
        run_id = OwnRunId()
        table.start(run_id, llm_call())
        clock.now = 1010.0
        assert ages(recorder, OLDEST["llm"]) == {"planner": 10.0}
        assert in_a_child(lambda: ages(recorder, OLDEST["llm"])) == "{'planner': 0.0}"
        assert ages(recorder, OLDEST["llm"]) == {"planner": 10.0}


class TestACall:
    @pytest.mark.parametrize("kind", FACTS)
    def test_a_call_is_open_from_its_start_to_its_end(self, pipeline, recorder, table, kind):
        run_id, fact = OwnRunId(), FACTS[kind]()
        table.start(run_id, fact)
        assert by(recorder, "agentmetrics_open_runs", "kind") == {kind: 1}
        assert table.get(run_id) is fact
        assert table.take(run_id) is fact
        pipeline.finish(fact)
        assert table.get(run_id) is None
        assert_settled(recorder)
        if kind in FINISHED:
            assert by(recorder, FINISHED[kind], "status") == {"success": 1}

    def test_a_call_ends_once_however_often_it_is_taken(self, table):
        run_id = OwnRunId()
        table.start(run_id, llm_call())
        assert table.take(run_id) is not None
        assert table.take(run_id) is None

    def test_a_call_ends_once_when_threads_race_for_it(self, pipeline, recorder, table):
        run_ids = [OwnRunId() for _ in range(200)]
        for run_id in run_ids:
            table.start(run_id, llm_call())
        together = threading.Barrier(4)

        def end():
            together.wait(10)
            for run_id in run_ids:
                fact = table.take(run_id)
                if fact is not None:
                    pipeline.finish(fact)

        threads = [threading.Thread(target=end) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.value("llm_calls_total") == 200
        assert_settled(recorder)

    def test_a_call_that_two_sources_saw_is_the_first_ones(self, recorder, table):
        run_id, first = uuid.uuid4(), llm_call()
        table.start(run_id, first)
        table.start(run_id, llm_call())
        assert table.get(run_id) is first
        assert recorder.value("llm_active_calls") == 1

    def test_a_call_takes_the_time_from_start_to_end(self, pipeline, recorder, table, clock):
        run_id = OwnRunId()
        table.start(run_id, llm_call())
        clock.now += 2.5
        pipeline.finish(table.take(run_id))
        assert recorder.histogram("llm_latency_seconds").sum == 2.5

    def test_a_call_of_ours_never_has_the_number_of_a_uuid(self):
        numbers = [OwnRunId().int for _ in range(3)]
        assert numbers[0] > numbers[1] > numbers[2]
        assert max(numbers) < 0 <= uuid.UUID(int=0).int

    def test_a_call_is_recorded_where_all_sources_of_the_recorder_record(self, recorder):
        assert pipeline_of(recorder) is pipeline_of(recorder)
        assert pipeline_of(recorder) is not pipeline_of(MemoryRecorder())

    def test_a_call_is_shared_by_recorders_of_one_prometheus_registry(self):
        from prometheus_client import CollectorRegistry

        registry = CollectorRegistry()
        assert pipeline_of(PrometheusRecorder(registry)) is pipeline_of(
            PrometheusRecorder(registry)
        )


@pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="without reference counting the sweep does it"
)
class TestAnAbandonedCall:
    @pytest.mark.parametrize("kind", FINISHED)
    def test_an_abandoned_call_ends_as_cancelled_when_its_run_id_is_let_go(
        self, recorder, table, clock, kind
    ):
        run_id = uuid.uuid4()
        table.start(run_id, FACTS[kind]())
        clock.now += 2
        del run_id
        clock.now += 100  # until somebody looks
        assert by(recorder, FINISHED[kind], "status") == {"cancelled": 1}
        assert_settled(recorder)
        if kind == "llm":
            assert recorder.histogram("llm_latency_seconds").sum == 2

    def test_an_abandoned_call_ends_at_the_next_start_at_the_latest(self, recorder, table):
        run_id = uuid.uuid4()
        table.start(run_id, llm_call())
        del run_id
        table.start(OwnRunId(), FACTS["chain"]())
        instrument = recorder.store.series["llm_calls_total"]
        assert {key[-1]: series.value for key, series in instrument.items()}["cancelled"] == 1

    def test_an_abandoned_call_that_was_an_agents_chain_ends_the_run_too(self, recorder, table):
        run_id, chain = uuid.uuid4(), ChainRun("graph", 1000.0)
        table.start(run_id, chain)
        table.begin_run(chain, "planner", ())
        assert by(recorder, "agent_active_runs", "agent_name") == {"planner": 1}
        del run_id
        assert runs(recorder) == {("planner", "cancelled"): 1}
        assert_settled(recorder)

    def test_an_abandoned_call_is_not_ended_twice_by_its_own_end(self, pipeline, recorder, table):
        run_id = uuid.uuid4()
        table.start(run_id, llm_call())
        pipeline.finish(table.take(run_id))
        del run_id
        assert by(recorder, "llm_calls_total", "status") == {"success": 1}

    def test_an_abandoned_call_is_noticed_inside_of_any_lock(self, recorder, table):
        run_id = [uuid.uuid4()]
        table.start(run_id[0], llm_call())
        with recorder.update():
            run_id.clear()  # the reference dies here; nothing may wait for a lock
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}

    def test_an_abandoned_call_is_ended_before_a_gate_is_asked(self, pipeline, table):
        settled: list[LLMCall] = []
        pipeline.guard(lambda call, ceiling: settled.append)
        run_id, abandoned = uuid.uuid4(), llm_call()
        pipeline.open_call(run_id, abandoned, lambda: None)
        del run_id
        pipeline.open_call(OwnRunId(), llm_call(), lambda: None)
        assert settled[:1] == [abandoned]

    @pytest.mark.parametrize("is_over", [True, False])
    def test_an_abandoned_call_takes_none_with_it_whose_id_has_the_same_number(
        self, pipeline, recorder, table, is_over
    ):
        first, second = (uuid.UUID(int=7) for _ in range(2))
        table.start(first, ChainRun("graph", 1000.0, AgentRun("writer", 1000.0)))
        if is_over:
            pipeline.finish(table.leave(first))
        else:
            table.take(first)
        chain = ChainRun("graph", 1000.0, AgentRun("writer", 1000.0))
        table.start(second, chain)
        del first
        table.end_abandoned()
        assert table.get(second) is chain

    def test_an_abandoned_call_whose_note_was_lost_ends_at_the_next_collection(
        self, recorder, table
    ):
        run_id = uuid.uuid4()
        table.start(run_id, llm_call())
        del run_id
        table.abandoned.clear()  # as when Ctrl-C comes while it is being taken
        assert list(table.open_facts()) == []
        assert recorder.value("llm_calls_total", status="cancelled") == 1

    def test_an_abandoned_call_keeps_nothing(self, recorder, table):
        for _ in range(1000):
            table.start(uuid.uuid4(), llm_call())
        assert recorder.value("llm_calls_total", status="cancelled") == 1000
        assert not table._open
        assert not table.abandoned


class TestAScope:
    """The chain that a call is in, which says the agent where nobody else does."""

    @pytest.fixture
    def chain(self):
        chain = ChainRun("graph", 1000.0, AgentRun("writer", 1000.0))
        chain.ended = 1000.0  # as finish() does right after leave()
        return chain

    @pytest.mark.parametrize("kind", [ToolExecution, RetrieverQuery])
    def test_a_scope_of_what_is_in_a_tool_or_retriever_is_the_chain_of_that(
        self, table, chain, kind
    ):
        outer, inner = uuid.uuid4(), uuid.uuid4()
        table.start(outer, chain)
        table.start(inner, kind("planner", "search", 1000.0, scope=chain))
        assert table.scope(outer) is chain
        assert table.scope(inner) is chain

    def test_a_scope_is_none_in_a_call_and_in_what_nobody_saw(self, table):
        run_id = uuid.uuid4()
        table.start(run_id, llm_call())
        assert table.scope(run_id) is None
        assert table.scope(uuid.uuid4()) is None

    def test_a_scope_is_still_there_when_it_is_over_for_as_long_as_its_id(
        self, recorder, table, chain
    ):
        run_id = uuid.uuid4()
        table.start(run_id, chain)
        assert table.leave(run_id) is chain
        assert table.leave(run_id) is None
        assert_settled(recorder)
        assert table.scope(run_id) is chain
        del run_id
        assert_settled(recorder)
        assert not table._ended

    def test_a_scope_that_says_nothing_is_not_kept(self, table):
        run_id = uuid.uuid4()
        table.start(run_id, ChainRun("chain", 1000.0))
        assert table.leave(run_id) is not None
        assert not table._ended

    def test_a_scope_is_forgotten_after_the_time_to_live(
        self, pipeline, recorder, table, chain, clock
    ):
        old, young = uuid.uuid4(), uuid.uuid4()
        for run_id, seconds in ((old, table.ttl_seconds - 1), (young, 0)):
            table.start(run_id, chain if run_id is old else ChainRun("g", clock.now, chain.run))
            pipeline.finish(table.leave(run_id))
            clock.now += seconds
        assert_settled(recorder)
        assert table.scope(old) is chain
        clock.now += table.ttl_seconds / table_module.SWEEPS_PER_TTL + 1
        assert_settled(recorder)
        assert table.scope(old) is None
        assert table.scope(young) is not None

    def test_a_scope_that_is_over_is_not_the_forked_childs(self, table, chain):
        run_id = uuid.uuid4()
        table.start(run_id, chain)
        table.leave(run_id)
        assert in_a_child(lambda: table.scope(run_id)) == "None"

    def test_a_scope_begins_one_run(self, pipeline, recorder, table):
        run_id, chain = uuid.uuid4(), ChainRun("graph", 1000.0)
        table.start(run_id, chain)
        table.begin_run(chain, "writer", ())
        run = chain.run
        table.begin_run(chain, "writer", ())  # by a node that started at the same time
        assert chain.run is run
        pipeline.finish(table.leave(run_id))
        assert runs(recorder) == {("writer", "success"): 1}


class TestTheTimeToLive:
    def test_the_time_to_live_ends_as_cancelled_what_is_open_for_longer(
        self, recorder, table, clock
    ):
        old, young = OwnRunId(), OwnRunId()
        table.start(old, llm_call(started=clock.now))
        recorder.value("llm_active_calls")  # a sweep that finds nothing
        clock.now += table.ttl_seconds - 1
        table.start(young, llm_call(started=clock.now))
        assert recorder.value("llm_active_calls") == 2
        clock.now += table.ttl_seconds / table_module.SWEEPS_PER_TTL + 1
        assert recorder.value("llm_active_calls") == 1
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert table.take(old) is None
        assert table.take(young) is not None

    def test_the_time_to_live_is_the_recorders(self, clock):
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(call_ttl_seconds=10.0))
        table, run_id = pipeline_of(recorder).table, OwnRunId()
        table.start(run_id, llm_call(started=clock.now))
        clock.now += 11
        assert recorder.value("llm_active_calls") == 0

    def test_the_time_to_live_lets_a_late_end_be_ignored(self, recorder, table, clock):
        handler, run_id = MetricsCallbackHandler(recorder), uuid.uuid4()
        handler.on_tool_start({}, "", run_id=run_id, name="search")
        tool = pipeline_of(recorder).table.get(run_id)
        assert isinstance(tool, ToolExecution)
        tool.started = clock.now
        clock.now += table.ttl_seconds + 1
        assert by(recorder, "tool_executions_total", "status") == {"cancelled": 1}
        handler.on_tool_end("", run_id=run_id)
        assert by(recorder, "tool_executions_total", "status") == {"cancelled": 1}


class TestAFork:
    def test_a_fork_leaves_open_calls_to_the_parent(self, pipeline, recorder, table):
        run_ids = [uuid.uuid4(), OwnRunId()]
        table.start(run_ids[0], llm_call())
        table.start(run_ids[1], ToolExecution("planner", "search", 1000.0))
        pipeline.finish(llm_call())  # something that is over
        lost = uuid.uuid4()
        table.start(lost, llm_call())
        del lost  # abandoned and not yet noticed: the parent's too

        def in_child():
            in_flight = [
                recorder.value("llm_active_calls"),
                recorder.value("tool_executions_active"),
                recorder.value("agentmetrics_open_runs"),
                recorder.value("llm_calls_total", status="cancelled"),
            ]
            run_ids.clear()
            own = OwnRunId()
            table.start(own, llm_call())
            in_flight.append(recorder.value("llm_active_calls"))
            pipeline.finish(table.take(own))
            in_flight.append(recorder.value("llm_calls_total", status="cancelled"))
            in_flight.append(recorder.value("llm_active_calls"))
            return in_flight

        assert in_a_child(in_child) == "[0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]"
        assert recorder.value("llm_active_calls") == 1
        assert recorder.value("tool_executions_active") == 1
        assert recorder.value("llm_calls_total", status="cancelled") == 1

    def test_a_fork_while_another_thread_settles_leaves_no_lock_behind(self, recorder, table):
        holding, stop = threading.Event(), threading.Event()

        def hold():
            with table._ending:
                holding.set()
                stop.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert holding.wait(10)
            assert in_a_child(lambda: recorder.value("llm_active_calls")) == "0.0"
        finally:
            stop.set()
            thread.join()


class TestASubscriber:
    def test_a_subscriber_hears_every_call_that_ends_with_its_cost(self, pipeline, table):
        heard: list[LLMCall] = []
        other: list[LLMCall] = []
        pipeline.subscribe(heard.append)
        pipeline.subscribe(other.append)
        first, second = llm_call(), llm_call()
        pipeline.succeed(first)
        pipeline.finish(second, KeyError())
        pipeline.finish(ToolExecution("planner", "search", 1000.0))
        assert heard == other == [first, second]
        assert [call.cost_usd is not None for call in heard] == [True, True]

    def test_a_subscriber_hears_of_abandoned_calls(self, pipeline, table):
        heard: list[LLMCall] = []
        pipeline.subscribe(heard.append)
        table.start(uuid.uuid4(), llm_call())
        table.end_abandoned()
        assert [call.status for call in heard] == ["cancelled"]

    def test_a_subscriber_hears_no_more_when_it_says_so(self, pipeline, recorder, table):
        heard: list[LLMCall] = []
        other: list[LLMCall] = []
        pipeline.subscribe(heard.append)
        pipeline.subscribe(other.append)
        pipeline.unsubscribe(heard.append)
        pipeline.succeed(llm_call())
        assert (len(heard), len(other)) == (0, 1)
        assert recorder.value("llm_calls_total") == 1

    def test_a_subscriber_hears_of_calls_that_cannot_be_recorded(
        self, pipeline, recorder, table, monkeypatch
    ):
        def fails(call):
            raise RuntimeError

        heard: list[LLMCall] = []
        monkeypatch.setattr(pipeline.llm, "record", fails)
        pipeline.subscribe(heard.append)
        pipeline.finish(llm_call())
        assert len(heard) == 1
        assert errors(recorder) == {"record": 1}

    def test_a_subscriber_that_fails_costs_no_metric(self, pipeline, recorder, table):
        def fails(call):
            raise RuntimeError

        pipeline.subscribe(fails)
        pipeline.finish(llm_call())
        assert recorder.value("llm_calls_total") == 1
        assert errors(recorder) == {"record": 1}


class TestAGate:
    """What it returns settles the call that it let through."""

    def test_a_gate_settles_after_all_who_hear_of_calls_whoever_came_first(self, pipeline, table):
        order = []
        pipeline.guard(lambda call, ceiling: lambda ended: order.append("settled"))
        pipeline.subscribe(lambda ended: order.append("heard"))
        run_id, call = OwnRunId(), llm_call()
        pipeline.open_call(run_id, call, lambda: None)
        pipeline.succeed(call)
        assert order == ["heard", "settled"]

    def test_a_gate_that_is_gone_settles_what_it_let_through(self, pipeline, table):
        settled: list[LLMCall] = []
        run_id, call = OwnRunId(), llm_call()

        def gate(call, ceiling):
            return settled.append

        pipeline.guard(gate)
        pipeline.open_call(run_id, call, lambda: None)
        pipeline.unguard(gate)
        pipeline.succeed(call)
        assert settled == [call]

    def test_a_gate_settles_each_call_once_though_it_is_tried_again(self, pipeline, table):
        settled: list[LLMCall] = []
        refusals = [BudgetExceeded("team", "daily", {}, 1.0, 1.0, None)]

        def refuse_once(call, ceiling):
            if refusals:
                raise refusals.pop()
            return lambda ended: None

        pipeline.guard(lambda call, ceiling: settled.append)
        pipeline.guard(refuse_once)
        run_id, call = OwnRunId(), llm_call()
        with pytest.raises(BudgetExceeded):
            pipeline.open_call(run_id, call, lambda: None)
        assert settled == [call]
        pipeline.open_call(run_id, call, lambda: None)
        pipeline.succeed(call)
        assert settled == [call, call]


class TestAFailure:
    def test_a_failure_to_record_is_counted_and_logged_once_without_its_text(
        self, pipeline, recorder, table, monkeypatch, caplog
    ):
        def fails(fact):
            raise RuntimeError("secret")

        monkeypatch.setitem(pipeline._record, "llm", fails)
        with caplog.at_level(logging.WARNING, "agentmetrics"):
            for _ in range(2):
                pipeline.finish(llm_call())
            table.start(uuid.uuid4(), llm_call())
            gc.collect()
            assert_settled(recorder)
        assert errors(recorder) == {"record": 3}
        assert [record.getMessage() for record in caplog.records] == [
            "could not fully record record: RuntimeError"
        ]

    def test_a_failure_of_one_abandoned_call_does_not_keep_the_others_open(
        self, pipeline, recorder, table, monkeypatch
    ):
        def fails(fact):
            raise RuntimeError

        monkeypatch.setitem(pipeline._record, "llm", fails)
        table.start(uuid.uuid4(), llm_call())
        table.start(uuid.uuid4(), ToolExecution("planner", "search", 1000.0))
        assert by(recorder, "tool_executions_total", "status") == {"cancelled": 1}
        assert_settled(recorder)
