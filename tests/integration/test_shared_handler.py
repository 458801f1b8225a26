"""One handler in many threads, and in copies of the chain that holds it: all record, exactly."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from tests.integration.apps import traffic
from tests.integration.test_providers import equals_the_wire
from tests.services.wire import Answer, Refusal, Wire
from tests.unit.scripted import assert_settled, by

THREADS = 64
AGENT = "tester"
ANTHROPIC = "claude-haiku-4-5"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def recorder(agent_metrics: MemoryRecorder) -> MemoryRecorder:
    """The configured one: where a handler records that comes out of a pickle."""
    return agent_metrics


def together(work: Callable[[int], None]) -> None:
    """``work(number)`` in 64 threads that begin at the same time."""
    begin = threading.Barrier(THREADS)
    failed: list[BaseException] = []

    def begun(number: int) -> None:
        begin.wait(30)
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=begun, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


class TestAHandlerOf64Threads:
    def test_a_handler_of_64_threads_counts_every_call_as_the_wire_does(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        """Each thread has four answers, a batch, a stream, a refusal, and a stream it leaves."""
        config: Any = {"callbacks": [MetricsCallbackHandler(recorder, agent_name=AGENT)]}
        good = traffic.openai(wire, AGENT, "gpt-4o-mini")
        refused = traffic.openai(wire, AGENT, "gpt-4o")
        wire.always("gpt-4o", Refusal(429))

        def work(number: int) -> None:
            for _ in range(2):
                good.invoke("x", config)
            good.batch(["x", "y"], config)
            list(good.stream("x", config))
            with suppress(Exception):
                refused.invoke("x", config)
            leaving: Any = good.stream("x", config)
            next(chunk for chunk in leaving if chunk.text)
            leaving.close()

        together(work)
        wire.settled()
        assert recorder.value("llm_calls_total", status="error") == THREADS
        assert recorder.value("llm_errors_total", error_type="rate_limit") == THREADS
        assert recorder.value("llm_calls_total", status="cancelled") == THREADS
        assert recorder.value("llm_calls_total", status="success") == 5 * THREADS
        assert recorder.histogram("llm_latency_seconds").count == 7 * THREADS
        assert recorder.histogram("llm_time_to_first_token_seconds").count == 2 * THREADS
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        assert_settled(recorder)

    def test_a_handler_of_64_threads_has_every_thread_in_flight_at_once(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        config: Any = {"callbacks": [MetricsCallbackHandler(recorder, agent_name=AGENT)]}
        model = traffic.openai(wire, AGENT, "gpt-4o")
        seen: list[float] = []
        all_read = threading.Barrier(THREADS)

        def work(number: int) -> None:
            stream: Any = model.stream("x", config)
            next(stream)
            all_read.wait(60)
            seen.append(recorder.value("llm_active_calls"))
            all_read.wait(60)
            list(stream)

        together(work)
        assert seen == [THREADS] * THREADS
        equals_the_wire(recorder, wire)
        assert_settled(recorder)


def chain_of(wire: Wire, handler: MetricsCallbackHandler) -> Runnable[Any, Any]:
    """A prompt, a model that holds the handler, and a parser; of Anthropic, whose model pickles."""
    model = traffic.anthropic(wire, AGENT, ANTHROPIC, callbacks=[handler])
    prompt = ChatPromptTemplate.from_template("tell me about {about}")
    return prompt | model | StrOutputParser()


class TestACopyOfAChain:
    COPIES: dict[str, Callable[[Any], Any]] = {  # noqa: RUF012
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
        "pickle": lambda chain: pickle.loads(pickle.dumps(chain)),
        "model_copy": lambda chain: chain.model_copy(deep=True),
        "deepcopy of a pickle": lambda chain: copy.deepcopy(pickle.loads(pickle.dumps(chain))),
    }

    @pytest.mark.parametrize("made_by", COPIES)
    def test_a_copy_of_a_chain_records_where_the_chain_does(
        self, made_by: str, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        chain = chain_of(wire, MetricsCallbackHandler(agent_name=AGENT))
        again = self.COPIES[made_by](chain)
        for one in (chain, again):
            one.invoke({"about": "x"})
            list(one.stream({"about": "x"}))
        wire.script(ANTHROPIC, Refusal(500))
        with suppress(Exception):
            again.invoke({"about": "x"})
        assert by(recorder, "llm_calls_total", "agent_name", "status") == {
            (AGENT, "success"): 4,
            (AGENT, "error"): 1,
        }
        equals_the_wire(recorder, wire)

    @pytest.mark.parametrize("made_by", ["copy", "deepcopy", "model_copy"])
    def test_a_copy_of_a_chain_keeps_a_recorder_that_was_given(
        self, made_by: str, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        own = MemoryRecorder()
        chain = chain_of(wire, MetricsCallbackHandler(own, agent_name=AGENT))
        self.COPIES[made_by](chain).invoke({"about": "x"})
        assert recorder.value("llm_calls_total") == 0
        equals_the_wire(own, wire)

    def test_a_copy_of_a_chain_that_was_pickled_records_in_the_configured_one(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        own = MemoryRecorder()
        chain = chain_of(wire, MetricsCallbackHandler(own, agent_name=AGENT))
        self.COPIES["pickle"](chain).invoke({"about": "x"})
        assert own.value("llm_calls_total") == 0
        equals_the_wire(recorder, wire)

    def test_a_copy_of_a_chain_of_a_graph_with_the_handler_on_its_model_counts_a_call_once(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        handler = MetricsCallbackHandler(agent_name=AGENT)
        model = traffic.anthropic(wire, AGENT, ANTHROPIC, callbacks=[handler])
        agent: Any = create_agent(model, [traffic.add], name=AGENT)
        agent = copy.copy(agent.with_config(callbacks=[handler]))  # LangGraph's do not deepcopy
        wire.script(ANTHROPIC, Answer(tools=(("add", {"a": 1, "b": 2}),)))
        agent.invoke({"messages": [("user", "x")]})
        assert by(recorder, "agent_runs_total", "agent_name", "status") == {(AGENT, "success"): 1}
        assert by(recorder, "tool_executions_total", "tool_name") == {"add": 1}
        equals_the_wire(recorder, wire)

    def test_a_copy_of_a_chain_in_another_process_records_there(
        self, wire: Wire, recorder: MemoryRecorder
    ) -> None:
        chain = chain_of(wire, MetricsCallbackHandler(MemoryRecorder(), agent_name=AGENT))
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.apps.unpickled"],
            input=pickle.dumps(chain),
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            cwd=ROOT,
            timeout=120,
            check=True,
        )
        counted = json.loads(done.stdout)
        calls = {
            (labels["agent_name"], labels["provider"], labels["status"]): value
            for name, labels, value in counted
            if name == "llm_calls_total" and value
        }
        tokens = {
            tuple(labels.values()): value
            for name, labels, value in counted
            if name == "llm_tokens_total"
        }
        assert calls == {(AGENT, "anthropic", "success"): 2} == traffic.calls_by_status(wire)
        assert tokens == traffic.tokens(wire)
        assert not any(v for name, _, v in counted if name == "agentmetrics_open_runs")
        assert recorder.value("llm_calls_total") == 0
