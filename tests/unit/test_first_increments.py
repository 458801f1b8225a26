"""Series begin at 0 before the first increment, so that ``increase`` sees it."""

from __future__ import annotations

import time
import uuid

import pytest
from langchain_core.tools import tool

import agentmetrics
from agentmetrics import (
    Budget,
    Budgets,
    ConfigurationError,
    InstrumentedAgent,
    MemoryRecorder,
    MetricsCallbackHandler,
    expect,
    track_call,
)
from agentmetrics.catalog import ERROR_TYPES, STATUSES, TOKEN_TYPES
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, pipeline_of
from tests.unit.scripted import Chat, errors

CALL = {"agent_name": "planner", "provider": "openai", "model": "gpt-4o-mini"}


def zeros(recorder: MemoryRecorder, name: str, label: str = "") -> list[str]:
    """The values of a label, or of none, under which a metric stands at 0."""
    return [
        sample.labels.get(label, "")
        for sample in recorder.samples()
        if sample.name == name and not sample.value
    ]


def assert_expected(recorder: MemoryRecorder) -> None:
    """Everything that a call counts is there, and at 0."""
    assert zeros(recorder, "llm_calls_total", "status") == list(STATUSES)
    assert zeros(recorder, "llm_tokens_total", "token_type") == list(TOKEN_TYPES)
    assert zeros(recorder, "llm_errors_total", "error_type") == list(ERROR_TYPES)
    assert zeros(recorder, "llm_cost_usd_total", "model") == ["gpt-4o-mini"]


class TestWhileTheFirstCallRuns:
    def test_the_first_tracked_call_is_at_0_until_it_ends(self, recorder):
        with track_call("openai", "gpt-4o-mini", agent_name="planner") as call:
            assert_expected(recorder)
            call.record_usage(10, 5)
        assert recorder.value("llm_calls_total", **CALL, status="success") == 1

    def test_the_first_call_of_langchain_is_at_0_until_it_ends(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        metadata = {"ls_provider": "openai", "ls_model_name": "gpt-4o-mini"}
        handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=metadata)
        assert_expected(recorder)

    def test_the_first_call_that_a_budget_looks_at_is_at_0_until_it_ends(self, recorder):
        budgets = Budgets([Budget("all", 5.0, action="block")], recorder)
        assert zeros(recorder, "budget_blocked_calls_total", "budget") == ["all"]
        with track_call("openai", "gpt-4o-mini"):
            assert_expected(recorder)
        budgets.close()

    def test_a_model_without_a_price_has_no_cost_of_0(self, recorder):
        with track_call("openai", "gpt-99"):
            assert zeros(recorder, "llm_calls_total", "model") == ["gpt-99"] * 4
            assert zeros(recorder, "llm_cost_usd_total") == []

    def test_a_call_that_asks_for_no_model_waits_for_the_name_of_the_one_that_serves(
        self, recorder
    ):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        assert zeros(recorder, "llm_calls_total") == []

    def test_the_first_run_of_an_agent_is_at_0_until_it_ends(self, recorder):
        class Planner(InstrumentedAgent):
            def run(self) -> list[str]:
                return zeros(recorder, "agent_runs_total", "status")

        assert Planner().run() == list(STATUSES)
        assert recorder.value("agent_runs_total", agent_name="Planner", status="success") == 1

    def test_the_first_execution_of_a_tool_is_at_0_until_it_ends(self, recorder, config):
        @tool
        def search(what: str) -> str:
            """Search."""
            return ",".join(zeros(recorder, "tool_executions_total", "status"))

        assert search.invoke("x", config) == ",".join(STATUSES)

    def test_the_first_query_of_a_retriever_is_at_0_until_it_ends(self, recorder):
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_retriever_start({}, "x", run_id=run_id, name="docs")
        assert zeros(recorder, "retriever_queries_total", "status") == list(STATUSES)

    def test_a_backend_that_fails_at_the_start_does_not_stop_the_call(self, recorder, monkeypatch):
        def fails(*_: object) -> None:
            raise OSError("disk full")

        pipeline = pipeline_of(recorder)
        monkeypatch.setitem(pipeline._expect, "llm", fails)
        Chat(callbacks=[MetricsCallbackHandler()]).invoke("x")
        assert recorder.value("llm_calls_total") == 1
        assert errors(recorder) == {"record": 1}


@pytest.fixture
def slow_prices(recorder, monkeypatch):
    """A price list that takes half a second to look something up."""
    prices = pipeline_of(recorder).prices
    found = prices.find("openai", "gpt-4o")

    def find(*_: object) -> object:
        time.sleep(0.5)
        return found

    monkeypatch.setattr(prices, "find", find)


@pytest.mark.usefixtures("slow_prices")
class TestTheTimeOfTheFirstCall:
    def test_a_tracked_call_does_not_count_the_look_up_of_its_price(self, recorder):
        with track_call("openai", "gpt-4o") as call:
            call.record_usage(10, 5)
        assert recorder.histogram("llm_latency_seconds").sum < 0.5

    def test_a_call_of_langchain_does_not_count_the_look_up_of_its_price(self, recorder, config):
        Chat().invoke("x", config)
        assert recorder.histogram("llm_latency_seconds").sum < 0.5


class TestLookUpsOfPrices:
    @pytest.fixture
    def looked_up(self, recorder, monkeypatch):
        """The models whose prices were looked up."""
        prices, models = pipeline_of(recorder).prices, []
        find = prices.find

        def noted(provider, model, tier=""):
            models.append(model)
            return find(provider, model, tier)

        monkeypatch.setattr(prices, "find", noted)
        return models

    def test_a_new_model_is_looked_up_once(self, recorder, looked_up):
        for _ in range(3):
            with track_call("openai", "gpt-4o") as call:
                call.record_usage(10, 5)
        assert looked_up == ["gpt-4o"]

    def test_a_new_agent_looks_up_nothing(self, recorder, looked_up):
        for agent in ("planner", "writer", "reviewer"):
            with track_call("openai", "gpt-4o", agent_name=agent) as call:
                call.record_usage(10, 5)
        assert looked_up == ["gpt-4o"]

    def test_changed_prices_are_looked_up_again(self, recorder, looked_up, monkeypatch):
        prices = pipeline_of(recorder).prices
        for _ in range(2):
            with track_call("openai", "gpt-4o") as call:
                call.record_usage(10, 5)
            monkeypatch.setattr(prices, "_reloaded", lambda: True)
            prices.refresh()
        assert looked_up == ["gpt-4o"] * 2


class TestWhatIsExpected:
    def test_what_is_expected_is_at_0_before_the_first_call(self, recorder):
        expect(agents=["planner"], models=["openai:gpt-4o-mini"])
        assert_expected(recorder)
        assert zeros(recorder, "agent_runs_total", "agent_name") == ["planner"] * 4

    def test_every_agent_is_expected_to_call_every_model(self, recorder):
        expect(["a", "b"], ["openai:gpt-4o", "ollama:llama3:8b"])
        found = {
            (s.labels["agent_name"], s.labels["provider"], s.labels["model"])
            for s in recorder.samples()
            if s.name == "llm_calls_total"
        }
        models = {("openai", "gpt-4o"), ("ollama", "llama3:8b")}
        assert found == {(agent, *model) for agent in "ab" for model in models}

    def test_what_is_expected_twice_is_there_once_and_keeps_its_count(self, recorder):
        with track_call("openai", "gpt-4o-mini", agent_name="planner") as call:
            call.record_usage(10, 5)
        expect(["planner"], ["openai:gpt-4o-mini"])
        assert recorder.value("llm_calls_total", **CALL) == 1

    def test_what_is_expected_has_the_extra_labels_around(self):
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(extra_labels=("tenant",)))
        with replaced(recorder), agentmetrics.labels(tenant="acme"):
            expect(["planner"], ["openai:gpt-4o-mini"])
        assert zeros(recorder, "llm_cost_usd_total", "tenant") == ["acme"]

    def test_what_is_expected_is_shown_by_the_recorder_that_is_given(self, recorder):
        other = MemoryRecorder()
        expect(["planner"], recorder=other)
        assert zeros(other, "agent_runs_total") == [""] * 4
        assert zeros(recorder, "agent_runs_total") == []

    @pytest.mark.parametrize("model", ["gpt-4o", "openai:", ":gpt-4o", ""])
    def test_a_model_that_is_expected_needs_its_provider(self, recorder, model):
        with pytest.raises(ConfigurationError, match="'provider:model', such as") as raised:
            expect(["planner"], [model])
        assert repr(model) in str(raised.value)
        assert zeros(recorder, "agent_runs_total") == []

    @pytest.mark.parametrize("arguments", [([3],), (["planner"], [None])])
    def test_only_text_names_what_is_expected(self, recorder, arguments):
        with pytest.raises(ConfigurationError, match=r"must be names as text, not (3|None)"):
            expect(*arguments)

    @pytest.mark.parametrize("arguments", [("planner",), (["planner"], "openai:gpt-4o")])
    def test_a_single_string_is_no_list_of_what_is_expected(self, recorder, arguments):
        with pytest.raises(ConfigurationError, match="must be a list of names"):
            expect(*arguments)
