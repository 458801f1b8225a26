"""Budgets: what they let through, what they count, when they warn, and what ends them."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from pydantic import BaseModel, Field

from agentmetrics import (
    Budget,
    BudgetExceeded,
    ConfigurationError,
    InstrumentedAgent,
    Ledger,
    MemoryRecorder,
    MetricsCallbackHandler,
    configure,
    record_call,
    track_call,
)
from agentmetrics.budget import run_limits
from agentmetrics.budget.budgets import state
from agentmetrics.budget.budgets.budget import BudgetStatus
from agentmetrics.budget.budgets.budgets import Budgets
from agentmetrics.budget.ledger.spend import CallFilter
from agentmetrics.budget.periods import Span
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.sources.ceiling import ceiling_of
from tests.clock import Clock
from tests.unit.scripted import Chat, Text, answer, assert_settled, by, calls, errors

# gpt-4o: 2.50 USD for a million input tokens, 10 USD for a million output tokens.
ONE_CENT = answer(tokens=(4000, 0), model="gpt-4o")
CENT = 4000  # input tokens of it
HOUR = 3600


@pytest.fixture
def recorder() -> MemoryRecorder:
    """Not the configured one: whoever records in it was given it."""
    return MemoryRecorder()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The wall clock alone, since no call of these tests takes any time."""
    clock = Clock()
    clock.set("2026-11-18 12:00")
    monkeypatch.setattr("time.time", clock)
    return clock


def blocking(limit_usd: float, **options: Any) -> Budget:
    return Budget("team", limit_usd, action="block", **options)


def model(recorder: MemoryRecorder, agent_name: str = "planner", **options: Any) -> Chat:
    handler = MetricsCallbackHandler(recorder, agent_name)
    return Chat(**{"answers": [ONE_CENT], "callbacks": [handler], **options})


def result_of_a_tool(kind: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": "a", "content": [{"type": kind}]}


def blocked(recorder: MemoryRecorder) -> Any:
    return by(recorder, "budget_blocked_calls_total", "budget", "period")


class TestABlockingBudget:
    def test_a_blocking_budget_lets_calls_through_until_it_is_spent(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.02)], recorder)
        chat = model(recorder)
        for _ in range(2):
            chat.invoke("x")
        with pytest.raises(BudgetExceeded) as refused:
            chat.invoke("x")
        assert calls(recorder) == {("planner", "success"): 2}
        assert blocked(recorder) == {("team", "daily"): 1}
        assert refused.value.spent_usd == pytest.approx(0.02)
        assert refused.value.limit_usd == 0.02
        assert refused.value.resets_at is not None
        assert refused.value.resets_at > datetime.now(timezone.utc)
        assert_settled(recorder)
        assert errors(recorder) == {}

    def test_a_blocking_budget_refuses_before_the_model_is_asked(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.0)], recorder)
        asked: list[Any] = []

        class Asked(Chat):
            def _generate(self, messages: Any, *args: Any, **kwargs: Any) -> Any:
                asked.append(messages)
                return super()._generate(messages, *args, **kwargs)

        chat = Asked(callbacks=[MetricsCallbackHandler(recorder)])
        with pytest.raises(BudgetExceeded):
            chat.invoke("x")
        assert asked == []

    @pytest.mark.parametrize("way", ["ainvoke", "astream", "abatch"])
    def test_a_blocking_budget_refuses_asynchronous_calls(
        self, way: str, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.0)], recorder)

        async def run() -> None:
            chat = model(recorder)
            if way == "ainvoke":
                await chat.ainvoke("x")
            elif way == "abatch":
                await chat.abatch(["x", "y"])
            else:
                async for _ in chat.astream("x"):
                    raise AssertionError("nothing was to come")

        with pytest.raises(BudgetExceeded):
            asyncio.run(run())
        assert_settled(recorder)

    def test_a_blocking_budget_refuses_text_models_and_tracked_calls(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.0)], recorder)
        with pytest.raises(BudgetExceeded):
            Text(callbacks=[MetricsCallbackHandler(recorder)]).invoke("x")
        with pytest.raises(BudgetExceeded), track_call("openai", "gpt-4o", recorder=recorder):
            raise AssertionError("nothing was to run")
        assert blocked(recorder) == {("team", "daily"): 2}

    def test_a_blocking_budget_refuses_the_calls_of_an_instrumented_agent(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.01)], recorder)

        class Looping(InstrumentedAgent):
            def run(self) -> None:
                while True:
                    Chat(answers=[ONE_CENT]).invoke("x")

        Looping.recorder = recorder
        with pytest.raises(BudgetExceeded):
            Looping().run()
        assert calls(recorder) == {("Looping", "success"): 1}
        assert by(recorder, "agent_runs_total", "status") == {"error": 1}

    def test_a_blocking_budget_overshoots_by_no_more_than_the_calls_in_flight(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.10)], recorder)

        async def run() -> int:
            chat, refused = model(recorder), 0

            async def keep_calling() -> None:
                nonlocal refused
                for _ in range(10):
                    try:
                        await chat.ainvoke("x")
                    except BudgetExceeded:
                        refused += 1
                    await asyncio.sleep(0)

            await asyncio.gather(*(keep_calling() for _ in range(50)))
            return refused

        refused = asyncio.run(run())
        made = recorder.value("llm_calls_total")
        assert 10 <= made <= 10 + 50
        assert made + refused == 500

    def test_a_blocking_budget_lets_calls_through_again_in_the_next_period(
        self, recorder: MemoryRecorder, clock: Any
    ) -> None:
        budget = blocking(0.01)
        Budgets([budget], recorder)
        chat = model(recorder)
        chat.invoke("x")
        with pytest.raises(BudgetExceeded) as refused:
            chat.invoke("x")
        assert refused.value.resets_at is not None
        clock.now = refused.value.resets_at.timestamp()
        chat.invoke("x")
        assert budget.status().spent_usd == pytest.approx(0.01)

    def test_a_blocking_budget_finds_its_sums_again_when_the_clock_is_set_back(
        self, recorder: MemoryRecorder, clock: Any
    ) -> None:
        budget = Budget("team", 1)
        Budgets([budget], recorder)
        chat = model(recorder)
        chat.invoke("x")
        clock.now += 24 * HOUR
        chat.invoke("x")
        chat.invoke("x")
        clock.now -= 24 * HOUR
        chat.invoke("x")
        assert budget.status().spent_usd == pytest.approx(0.02)

    def test_a_blocking_budget_counts_what_was_billed_before_an_error_and_no_answer_of_a_cache(
        self, recorder: MemoryRecorder
    ) -> None:
        from langchain_core.caches import InMemoryCache

        budget = Budget("team", 1)
        Budgets([budget], recorder)
        chat = model(recorder, cache=InMemoryCache())
        for _ in range(5):
            chat.invoke("x")
        assert budget.status().spent_usd == pytest.approx(0.01)

    def test_a_fallback_to_another_model_is_let_through(self, recorder: MemoryRecorder) -> None:
        Budgets([blocking(0.0, scope={"model": "gpt-4o"})], recorder)
        chain = model(recorder).with_fallbacks([model(recorder, model="gpt-4o-mini")])
        assert chain.invoke("x").content == "hello"

    def test_a_blocking_budget_of_a_model_is_one_of_its_dated_names_and_of_no_sibling(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.0, scope={"model": "gpt-4o"})], recorder)
        with pytest.raises(BudgetExceeded):
            model(recorder, model="gpt-4o-2024-08-06").invoke("x")
        model(recorder, model="gpt-4o-mini").invoke("x")

    @pytest.mark.parametrize(
        ("named", "reported", "expected"),
        [
            ("claude-3-5-haiku-latest", "claude-3-5-haiku-20241022", True),
            ("gemini-2.5-flash-preview", "gemini-2.5-flash-preview-05-20", True),
            ("gemini-2.5-flash-preview", "gemini-2.5-flash", False),
            ("gemini-flash-latest", "gemini-2.5-flash", False),
            ("gpt-4o-2024-08-06", "gpt-4o-2024-11-20", False),
        ],
    )
    def test_a_blocking_budget_of_a_model_sees_through_what_says_only_which_one_of_it(
        self, named: str, reported: str, expected: bool
    ) -> None:
        calls = CallFilter(model=named)
        assert calls.takes("a", "some", reported, "", {}) == expected
        assert calls.takes("a", "some", "our-deployment", reported, {}) == expected

    def test_a_closed_budget_lets_every_call_through(self, recorder: MemoryRecorder) -> None:
        budgets = Budgets([blocking(0.0)], recorder)
        budgets.close()
        model(recorder).invoke("x")
        assert budgets.status() == []

    def test_two_handlers_ask_a_budget_once(self, recorder: MemoryRecorder) -> None:
        budget = blocking(1, reserve="max_tokens")
        Budgets([budget], recorder)
        two: RunnableConfig = {"callbacks": [MetricsCallbackHandler(recorder) for _ in range(2)]}
        Chat(answers=[ONE_CENT]).invoke("x", two, max_tokens=10)
        assert budget.status().reserved_usd == 0


class TestScopes:
    @pytest.mark.parametrize(
        ("scope", "expected"),
        [
            ({}, 0.04),
            ({"agent_name": "planner"}, 0.03),
            ({"agent_name": "planner", "tenant": "acme"}, 0.01),
            ({"provider": "openai"}, 0.04),
            ({"provider": "anthropic"}, 0.0),
            ({"tenant": "acme"}, 0.02),
        ],
    )
    def test_only_calls_that_have_all_values_of_a_scope_count(
        self, scope: dict[str, str], expected: float, recorder: MemoryRecorder
    ) -> None:
        pipeline_of(recorder, Options(extra_labels=("tenant",)))
        budget = Budget("team", 1, scope=scope)
        Budgets([budget], recorder)
        acme: Any = {"metadata": {"tenant": "acme"}}
        model(recorder).invoke("x")
        model(recorder).invoke("x")
        model(recorder).invoke("x", acme)
        model(recorder, "critic").invoke("x", acme)
        assert budget.status().spent_usd == pytest.approx(expected)

    def test_a_label_that_calls_do_not_have_is_refused(self, recorder: MemoryRecorder) -> None:
        with pytest.raises(ValueError, match="calls have no label 'tenant'; use one of agent_name"):
            Budgets([Budget("team", 1, scope={"tenant": "acme"})], recorder)

    def test_two_budgets_of_one_name_are_refused(self, recorder: MemoryRecorder) -> None:
        with pytest.raises(ValueError, match="two budgets are named 'team'"):
            Budgets([Budget("team", 1), Budget("team", 2)], recorder)


class TestReserving:
    def test_nothing_is_overspent_by_calls_at_the_same_time(self, recorder: MemoryRecorder) -> None:
        budget = blocking(0.10, reserve="max_tokens")
        Budgets([budget], recorder)
        cost_of_output = answer(tokens=(10, 500), model="gpt-4o")

        async def run() -> None:
            chat = model(recorder, answers=[cost_of_output])

            async def keep_calling() -> None:
                for _ in range(10):
                    try:
                        await chat.ainvoke("x", max_tokens=500)
                    except BudgetExceeded:
                        await asyncio.sleep(0)

            await asyncio.gather(*(keep_calling() for _ in range(50)))

        asyncio.run(run())
        assert 0.09 < recorder.value("llm_cost_usd_total") <= 0.10
        assert budget.status().reserved_usd == 0

    def test_a_call_without_a_bound_or_a_price_is_refused(self, recorder: MemoryRecorder) -> None:
        Budgets([blocking(1, reserve="max_tokens")], recorder)
        with pytest.raises(BudgetExceeded, match="set max_tokens"):
            model(recorder).invoke("x")
        with pytest.raises(BudgetExceeded, match="have a known price"):
            model(recorder, model="house-model").invoke("x", max_tokens=10)

    def test_a_tracked_call_says_its_own_bound(self, recorder: MemoryRecorder) -> None:
        budget = blocking(0.01, reserve="max_tokens")
        Budgets([budget], recorder)
        with track_call(
            "openai", "gpt-4o", recorder=recorder, max_input_tokens=1000, max_output_tokens=100
        ) as call:
            assert budget.status().reserved_usd == pytest.approx(0.0035)
            call.record_usage(input_tokens=10, output_tokens=10)
        assert budget.status().reserved_usd == 0
        with (
            pytest.raises(BudgetExceeded, match="cannot cover the most"),
            track_call(
                "openai", "gpt-4o", recorder=recorder, max_input_tokens=4000, max_output_tokens=1
            ),
        ):
            raise AssertionError("nothing was to run")

    def test_a_call_whose_tokens_cannot_be_known_is_refused(self, recorder: MemoryRecorder) -> None:
        Budgets([blocking(1, reserve="max_tokens")], recorder)
        for params in ({"extra_body": {(1, 2): "no JSON"}}, {"n": "2"}):
            with pytest.raises(BudgetExceeded, match="set max_tokens"):
                model(recorder).invoke("x", max_tokens=10, **params)
        with (
            pytest.raises(BudgetExceeded),
            track_call(
                "openai", "gpt-4o", recorder=recorder, max_input_tokens=-9, max_output_tokens=1
            ),
        ):
            raise AssertionError("nothing was to run")

    def test_a_call_of_a_dearer_tier_reserves_what_that_costs(
        self, recorder: MemoryRecorder
    ) -> None:
        budget = blocking(1, reserve="max_tokens")
        Budgets([budget], recorder)
        reserved = []

        class Asked(Chat):
            def _generate(self, *args: Any, **kwargs: Any) -> Any:
                reserved.append(budget.status().reserved_usd)
                return super()._generate(*args, **kwargs)

        for tier in ("flex", "default", "priority"):
            chat = Asked(callbacks=[MetricsCallbackHandler(recorder)], model="gpt-5")
            chat.invoke("x", max_tokens=10_000, service_tier=tier)
        flex, standard, priority = reserved
        assert flex == pytest.approx(standard, rel=0.01)  # which it may come to
        assert priority == pytest.approx(2 * standard, rel=0.01)
        with pytest.raises(BudgetExceeded, match="have a known price"):
            chat.invoke("x", max_tokens=10, service_tier="of the house")

    def test_a_budget_that_is_all_reserved_is_not_said_to_be_spent(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.01, reserve="max_tokens")], recorder)
        call: Any = {"recorder": recorder, "max_input_tokens": 4000, "max_output_tokens": 0}
        with (
            track_call("openai", "gpt-4o", **call),
            pytest.raises(
                BudgetExceeded, match=r"cannot cover the most that the call could cost: 0\.00"
            ),
            track_call("openai", "gpt-4o", **call),
        ):
            raise AssertionError("nothing was to run")

    def test_a_call_that_is_cancelled_gives_back_what_was_reserved(
        self, recorder: MemoryRecorder
    ) -> None:
        budget = blocking(0.01, reserve="max_tokens")
        Budgets([budget], recorder)

        class Slow(Chat):
            async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
                await asyncio.sleep(60)

        async def cancelled() -> None:
            chat = Slow(callbacks=[MetricsCallbackHandler(recorder)])
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(chat.ainvoke("x", max_tokens=900), 0.05)

        asyncio.run(cancelled())
        model(recorder).invoke("x", max_tokens=900)
        assert budget.status().reserved_usd == 0

    @pytest.mark.parametrize(
        ("message", "params", "bounded"),
        [
            ("ten tokens", {"max_tokens": 5}, True),
            ("ten tokens", {}, False),
            ("ten tokens", {"generation_config": {"max_output_tokens": 5}}, True),
            (HumanMessage([{"type": "text", "text": "x"}]), {"max_tokens": 5}, True),
            (HumanMessage([{"type": "image_url", "image_url": "u"}]), {"max_tokens": 5}, False),
            (HumanMessage([result_of_a_tool("text")]), {"max_tokens": 5}, True),
            (HumanMessage([result_of_a_tool("image")]), {"max_tokens": 5}, False),
            ("ten tokens", {"max_tokens": -1}, False),
            ("ten tokens", {"max_tokens": 5, "options": {"num_predict": -2}}, False),
            ("ten tokens", {"max_tokens": 5, "previous_response_id": "resp_1"}, False),
            ("ten tokens", {"max_tokens": 5, "conversation": {"id": "conv_1"}}, False),
            ("ten tokens", {"max_tokens": 5, "extra_body": {"prompt": {"id": "pmpt_1"}}}, False),
        ],
    )
    def test_only_what_is_text_with_max_tokens_has_a_bound(
        self, message: Any, params: dict[str, Any], bounded: bool
    ) -> None:
        assert (ceiling_of([message], params, {}) is not None) == bounded

    @pytest.mark.parametrize(
        ("tool", "bounded"),
        [
            ({"type": "function", "function": {"name": "add"}}, True),
            ({"type": "custom", "name": "add"}, True),
            ({"name": "add", "input_schema": {}}, True),
            ({"toolSpec": {"name": "add"}}, True),
            ({"function_declarations": [{"name": "add"}], "google_search": None}, True),
            ({"function_declarations": None, "google_search": {}}, False),
            ({"type": "web_search_20250305", "name": "web_search"}, False),
            ({"type": "file_search", "vector_store_ids": ["vs_1"]}, False),
        ],
    )
    def test_what_a_tool_of_the_provider_finds_has_no_bound(
        self, tool: dict[str, Any], bounded: bool
    ) -> None:
        assert (ceiling_of(["x"], {"max_tokens": 5, "tools": [tool]}, {}) is not None) == bounded

    @pytest.mark.parametrize(
        ("params", "most"),
        [
            ({"max_completion_tokens": 5, "max_tokens": 50}, 50),
            ({"max_completion_tokens": 50, "max_tokens": 5}, 50),
            ({"max_tokens": 5, "extra_body": {"max_tokens": 50}}, 50),
            ({"max_tokens": 5, "n": 2, "best_of": 10}, 50),
        ],
    )
    def test_the_bound_is_of_the_largest_limit_and_number_of_choices(
        self, params: dict[str, Any], most: int
    ) -> None:
        bound = ceiling_of(["x"], params, {"ls_max_tokens": 7})
        assert bound is not None
        assert bound.output_tokens == most

    def test_the_bound_counts_names_and_the_form_that_a_reply_is_to_have(self) -> None:
        class Form(BaseModel):
            title: str = Field(description="d" * 600)

        plain = ceiling_of([HumanMessage("x")], {"max_tokens": 5}, {})
        formed = ceiling_of([HumanMessage("x")], {"max_tokens": 5, "response_format": Form}, {})
        named = ceiling_of([HumanMessage("x", name="n" * 600)], {"max_tokens": 5}, {})
        assert plain is not None
        for longer in (formed, named):
            assert longer is not None
            assert longer.input_tokens >= plain.input_tokens + 500

    def test_the_bound_counts_bytes_choices_and_tools(self) -> None:
        plain = ceiling_of(["é" * 100], {"max_tokens": 5}, None)
        several = ceiling_of(["é" * 100], {"max_tokens": 5, "n": 3, "tools": [{"name": "a"}]}, None)
        assert plain is not None
        assert several is not None
        assert plain.input_tokens >= 200
        assert several.input_tokens > plain.input_tokens + 1000
        assert (plain.output_tokens, several.output_tokens) == (5, 15)


class TestWarnings:
    @pytest.mark.parametrize(("action", "is_said"), [("block", True), ("warn", False)])
    def test_a_budget_that_blocks_and_is_overspent_says_by_what(
        self,
        action: Any,
        is_said: bool,
        recorder: MemoryRecorder,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        Budgets([Budget("team", 0.015, action=action, thresholds=(50, 100))], recorder)
        chat = model(recorder)
        for _ in range(2):
            chat.invoke("x")
        half, full = (record.getMessage() for record in caplog.records)
        assert "under way" not in half
        assert ("calls under way when it was reached are over it" in full) is is_said

    def test_warnings_come_once_a_threshold_and_period(
        self, recorder: MemoryRecorder, clock: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[tuple[str, float]] = []
        done = threading.Event()

        def note(status: BudgetStatus, threshold: float) -> None:
            told.append((status.budget, threshold))
            if len(told) == 4:
                done.set()

        Budgets([Budget("team", 0.05, thresholds=(40, 100), on_threshold=note)], recorder)
        chat = model(recorder)
        with caplog.at_level(logging.WARNING, "agentmetrics"):
            for _ in range(7):
                chat.invoke("x")
            clock.now += 24 * HOUR
            for _ in range(7):
                chat.invoke("x")
            assert done.wait(5)
        assert told == [("team", 40.0), ("team", 100.0)] * 2
        assert len(caplog.records) == 4
        assert "passed 40%" in caplog.text

    def test_warnings_reach_an_async_callback_and_survive_one_that_fails(
        self, recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        told = threading.Event()

        async def note(status: BudgetStatus, threshold: float) -> None:
            if threshold < 100:
                raise KeyError("not for the log")
            await asyncio.sleep(0)
            told.set()

        budgets = Budgets([Budget("team", 0.01, on_threshold=note)], recorder)
        model(recorder).invoke("x")
        assert told.wait(5)
        budgets.close()
        assert "on_threshold callback of budget 'team' failed: KeyError" in caplog.text
        assert "not for the log" not in caplog.text

    @pytest.mark.parametrize("raised", [SystemExit(), asyncio.CancelledError()])
    def test_warnings_go_on_after_a_callback_that_ends_more_than_itself(
        self, raised: BaseException, recorder: MemoryRecorder
    ) -> None:
        told = threading.Event()

        def note(status: BudgetStatus, threshold: float) -> None:
            if threshold < 100:
                raise raised
            told.set()

        budgets = Budgets([Budget("team", 0.01, on_threshold=note)], recorder)
        model(recorder).invoke("x")
        assert told.wait(5)
        budgets.close()

    def test_warnings_reach_a_callback_whatever_it_returns(
        self, recorder: MemoryRecorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        told: list[float] = []

        def note(status: BudgetStatus, threshold: float) -> Any:
            told.append(threshold)
            return len(told)

        budgets = Budgets([Budget("team", 0.01, on_threshold=note)], recorder)
        model(recorder).invoke("x")
        budgets.close()
        assert told == [80, 100]
        assert "failed" not in caplog.text

    def test_warnings_may_be_logged_by_who_reads_the_metrics(
        self, recorder: MemoryRecorder
    ) -> None:
        read: list[float] = []

        class Reading(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                thread = threading.Thread(
                    target=lambda: read.append(recorder.value("budget_spend_usd")), daemon=True
                )
                thread.start()
                thread.join(5)

        handler = Reading()
        logging.getLogger("agentmetrics").addHandler(handler)
        try:
            Budgets([Budget("team", 0.01, thresholds=(100,))], recorder)
            model(recorder).invoke("x")
        finally:
            logging.getLogger("agentmetrics").removeHandler(handler)
        assert read == [pytest.approx(0.01)]

    def test_warnings_of_a_warning_budget_block_nothing(self, recorder: MemoryRecorder) -> None:
        Budgets([Budget("team", 0.01)], recorder)
        for _ in range(5):
            model(recorder).invoke("x")
        assert blocked(recorder) == {}


class TestMetrics:
    def test_metrics_of_a_budget_say_limit_spend_and_what_remains(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([Budget("team", 0.03), Budget("firm", 9, period="monthly")], recorder)
        for _ in range(4):
            model(recorder).invoke("x")
        assert by(recorder, "budget_limit_usd", "budget", "period") == {
            ("team", "daily"): 0.03,
            ("firm", "monthly"): 9,
        }
        spent = by(recorder, "budget_spend_usd", "budget")
        assert spent == {"team": pytest.approx(0.04), "firm": pytest.approx(0.04)}
        assert by(recorder, "budget_remaining_usd", "budget")["team"] == pytest.approx(-0.01)

    def test_metrics_of_a_budget_say_when_its_period_ends(
        self, recorder: MemoryRecorder, clock: Any
    ) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        clock.set("2026-10-25 12:00", "Europe/Berlin")  # a day of 25 hours
        Budgets([Budget("team", 1), Budget("firm", 9, period="monthly")], recorder, zone=berlin)
        assert by(recorder, "budget_period_end_timestamp_seconds", "budget", "period") == {
            ("team", "daily"): datetime(2026, 10, 26, tzinfo=berlin).timestamp(),
            ("firm", "monthly"): datetime(2026, 11, 1, tzinfo=berlin).timestamp(),
        }
        clock.set("2026-10-26 00:00", "Europe/Berlin")
        ends = by(recorder, "budget_period_end_timestamp_seconds", "budget")["team"]
        assert ends == datetime(2026, 10, 27, tzinfo=berlin).timestamp()

    def test_metrics_of_a_budget_project_its_spend_once_there_is_a_pace(
        self, recorder: MemoryRecorder, clock: Any
    ) -> None:
        def projected() -> dict[str, float]:
            name = "budget_projected_spend_usd"
            return {s.labels["budget"]: s.value for s in recorder.samples() if s.name == name}

        clock.set("2026-11-18 00:00")
        team = Budget("team", 1)
        Budgets([team, Budget("firm", 9, period="monthly")], recorder)
        for _ in range(2):
            model(recorder).invoke("x")
        clock.set("2026-11-18 00:59")
        assert projected() == {"firm": pytest.approx(0.02 * 30 / 17, rel=0.01)}
        assert team.status().projected_usd is None
        clock.set("2026-11-18 01:00")
        assert projected()["team"] == pytest.approx(0.48)
        clock.set("2026-11-18 12:00")
        assert projected()["team"] == pytest.approx(0.04)
        status = team.status().as_dict()
        assert status["projected_usd"] == pytest.approx(0.04)
        assert (status["starts_at"], status["as_of"]) == (
            "2026-11-18T00:00:00+00:00",
            "2026-11-18T12:00:00+00:00",
        )
        clock.set("2026-11-19 00:10")
        assert "team" not in projected()
        clock.set("2026-11-19 02:00")
        assert projected()["team"] == 0.0


class TestARunLimit:
    def test_a_run_limit_stops_a_looping_agent_and_no_other_run(
        self, recorder: MemoryRecorder
    ) -> None:
        class Looping(InstrumentedAgent):
            max_run_cost_usd = 0.03

            def run(self) -> None:
                while True:
                    Chat(answers=[ONE_CENT]).invoke("x")

        Looping.recorder = recorder
        for _ in range(2):
            with pytest.raises(BudgetExceeded) as refused:
                Looping().run()
        assert refused.value.budget == refused.value.period == run_limits.PER_RUN
        assert refused.value.scope == {"agent_name": "Looping"}
        assert refused.value.resets_at is None
        assert calls(recorder) == {("Looping", "success"): 6}

    def test_a_run_limit_counts_what_agents_inside_of_it_cost(
        self, recorder: MemoryRecorder
    ) -> None:
        class Inner(InstrumentedAgent):
            def run(self) -> None:
                Chat(answers=[ONE_CENT]).invoke("x")

        class Outer(InstrumentedAgent):
            max_run_cost_usd = 0.02

            def run(self) -> None:
                while True:
                    Inner().run()

        Inner.recorder = Outer.recorder = recorder
        with pytest.raises(BudgetExceeded, match="agent_name=Outer"):
            Outer().run()
        assert calls(recorder) == {("Inner", "success"): 2}

    def test_a_run_limit_holds_for_calls_that_belong_to_another_name(
        self, recorder: MemoryRecorder
    ) -> None:
        class Looping(InstrumentedAgent):
            max_run_cost_usd = 0.01

            def run(self) -> None:
                while True:
                    model(recorder, "somebody else").invoke("x")

        Looping.recorder = recorder
        with pytest.raises(BudgetExceeded):
            Looping().run()


class TestBadBudgets:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            ({"name": ""}, "name=''"),
            ({"limit_usd": -1}, "limit_usd=-1: must be a number of at least 0"),
            ({"limit_usd": float("nan")}, "limit_usd=nan"),
            ({"limit_usd": "5"}, "limit_usd='5'"),
            ({"limit_usd": True}, "limit_usd=True"),
            ({"period": "hourly"}, "period='hourly': use one of 'daily', 'weekly', 'monthly'"),
            ({"action": "stop"}, "action='stop': use one of 'warn', 'block'"),
            ({"reserve": "max_tokens"}, "requires action='block'"),
            ({"reserve_in": "ledger"}, "reserve_in='ledger': requires reserve='max_tokens'"),
            ({"reserve_in": "redis"}, "reserve_in='redis': use one of 'process', 'ledger'"),
            ({"thresholds": (0,)}, "thresholds=(0,): must be percentages above 0"),
            ({"thresholds": 80}, "thresholds=80: must be percentages above 0"),
            ({"limit_usd": 1e300}, "limit_usd: must be at most 1e+15"),
            ({"limit_usd": 10**400}, "limit_usd: must be at most 1e+15"),
            ({"scope": None}, "scope=None: must be a mapping of labels to values"),
            ({"scope": {"model": 3}}, "scope model=3: must be a string"),
        ],
    )
    def test_bad_budgets_are_refused_in_one_sentence(
        self, given: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ValueError, match=r"^") as refused:
            Budget(**{"name": "team", "limit_usd": 1, **given})
        assert said in str(refused.value)

    def test_a_budget_that_reserves_in_a_ledger_needs_one(
        self, recorder: MemoryRecorder, tmp_path: Path
    ) -> None:
        budget = blocking(1, reserve="max_tokens", reserve_in="ledger")
        said = r"^budget 'team': reserve_in='ledger': there is no ledger; set AGENTMETRICS_LEDGER"
        with pytest.raises(ValueError, match=said):
            Budgets([budget], recorder)
        path = tmp_path / "budgets.toml"
        path.write_text(
            '[budgets.team]\nlimit_usd = 1\naction = "block"\n'
            'reserve = "max_tokens"\nreserve_in = "ledger"\n'
        )
        with replaced(recorder):
            with pytest.raises(ConfigurationError, match=r"team.*there is no ledger"):
                configure(recorder, budgets_file=path)
            configure(recorder, budgets_file=path, ledger_url=f"sqlite:///{tmp_path / 'spend.db'}")


class TestTheStatus:
    def test_the_status_of_a_budget_that_is_not_in_force_yet_has_nothing_spent(self) -> None:
        status = Budget("team", 1, period="monthly").status(now=1_700_000_000)
        assert (status.spent_usd, status.remaining_usd, status.percent) == (0, 1, 0)
        assert status.starts_at.isoformat() == "2023-11-01T00:00:00+00:00"
        assert status.resets_at.isoformat() == "2023-12-01T00:00:00+00:00"

    def test_the_status_says_what_percentage_is_spent_and_whether_that_is_over_a_threshold(
        self, recorder: MemoryRecorder
    ) -> None:
        budget = Budget("team", 2.0)
        Budgets([budget], recorder)
        record_call("openai", "gpt-4o", cost_usd=1.6, recorder=recorder)
        status = budget.status()
        assert status.percent == pytest.approx(80)
        assert status.is_over(80)
        assert not status.is_over(81)
        assert not status.is_over()
        record_call("openai", "gpt-4o", cost_usd=0.4, recorder=recorder)
        assert budget.status().is_over()

    @pytest.mark.parametrize("has_ledger", [False, True])
    def test_the_status_says_how_many_calls_are_not_in_the_sum(
        self, recorder: MemoryRecorder, tmp_path: Path, has_ledger: bool
    ) -> None:
        with ExitStack() as stack:
            ledger = None
            if has_ledger:
                ledger = stack.enter_context(Ledger(f"sqlite:///{tmp_path / 'spend.db'}"))
                ledger.attach(recorder)
            budget = Budget("house", 2.0, scope={"provider": "house"})
            Budgets([budget], recorder, ledger=ledger).load()
            for tokens in (None, 0, 10):  # the first has none to price
                record_call("house", "unpriced-1", input_tokens=tokens, recorder=recorder)
            record_call("house", "unpriced-1", input_tokens=1, cost_usd=0.5, recorder=recorder)
            record_call("other", "unpriced-1", input_tokens=10, recorder=recorder)
            record_call("house", "unpriced-1", status="error", recorder=recorder)
            for _ in range(2):
                status = budget.status()
                assert (status.spent_usd, status.unpriced_calls) == (0.5, 2)
                if ledger is not None:  # and the same from the database
                    ledger.flush()

    @pytest.mark.parametrize("has_ledger", [False, True])
    def test_a_budget_that_does_not_see_what_calls_cost_says_so(
        self,
        recorder: MemoryRecorder,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        has_ledger: bool,
    ) -> None:
        with ExitStack() as stack:
            ledger = None
            if has_ledger:
                ledger = stack.enter_context(Ledger(f"sqlite:///{tmp_path / 'spend.db'}"))
                ledger.attach(recorder)
            Budgets([Budget("house", 2.0, scope={"provider": "house"})], recorder, ledger=ledger)
            assert recorder.value("budget_unpriced_calls", budget="house") == 0
            for provider in ("other", "house", "house"):
                unpriced_call(recorder, provider)
            assert recorder.value("budget_unpriced_calls", budget="house") == 2
            assert recorder.value("budget_spend_usd", budget="house") == 0
        assert caplog.text.count("does not see what") == 1
        assert "the daily budget 'house' does not see what 1 of its calls cost" in caplog.text

    def test_a_budget_that_does_not_see_what_calls_cost_says_so_in_every_period(
        self, recorder: MemoryRecorder, clock: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        Budgets([Budget("team", 2.0)], recorder)
        for _ in range(2):
            for _ in range(3):
                unpriced_call(recorder, "house")
            clock.now += 24 * HOUR
        assert caplog.text.count("does not see what") == 2
        assert recorder.value("budget_unpriced_calls") == 0


def unpriced_call(recorder: MemoryRecorder, provider: str) -> None:
    with track_call(provider, "unpriced-1", recorder=recorder) as call:
        call.record_usage(10, 10)


class TestTheError:
    def test_the_error_of_a_budget_survives_pickling(self, recorder: MemoryRecorder) -> None:
        Budgets([blocking(0.0)], recorder)
        with pytest.raises(BudgetExceeded) as refused:
            model(recorder).invoke("x")
        copy = pickle.loads(pickle.dumps(refused.value))
        assert str(copy) == str(refused.value)
        assert copy.resets_at == refused.value.resets_at

    def test_the_error_of_a_budget_passes_through_a_chain_and_ends_its_run(
        self, recorder: MemoryRecorder
    ) -> None:
        Budgets([blocking(0.0)], recorder)
        chain = RunnableLambda(lambda text: text) | model(recorder)
        with pytest.raises(BudgetExceeded):
            chain.invoke("x", {"callbacks": [MetricsCallbackHandler(recorder)]})
        assert_settled(recorder)

    def test_the_error_of_a_budget_is_the_only_one_that_a_handler_raises(
        self, recorder: MemoryRecorder
    ) -> None:
        handler = MetricsCallbackHandler(recorder)
        assert not handler.raise_error
        try:
            raise KeyError
        except KeyError:
            assert not handler.raise_error


class TestTimeZones:
    def test_days_begin_at_midnight_in_the_budgets_time_zone(
        self, recorder: MemoryRecorder, clock: Any
    ) -> None:
        berlin = ZoneInfo("Europe/Berlin")
        clock.now = datetime(2026, 10, 25, 12, tzinfo=berlin).timestamp()  # a day of 25 hours
        budget = blocking(0.01)
        Budgets([budget], recorder, zone=berlin)
        model(recorder).invoke("x")
        resets_at = budget.status().resets_at
        assert resets_at.isoformat() == "2026-10-26T00:00:00+01:00"
        clock.now = (resets_at - timedelta(seconds=1)).timestamp()
        with pytest.raises(BudgetExceeded):
            model(recorder).invoke("x")


class TestAGateThatFails:
    def test_a_gate_that_fails_lets_the_call_through_and_is_counted(
        self, recorder: MemoryRecorder
    ) -> None:
        def broken(call: Any, ceiling: Any) -> Any:
            raise KeyError

        pipeline_of(recorder).guard(broken)
        model(recorder).invoke("x")
        assert calls(recorder) == {("planner", "success"): 1}
        assert errors(recorder) == {"admit": 1}


class TestAForkedChild:
    @pytest.mark.parametrize("lock", ["of budgets", "of run limits"])
    def test_a_forked_child_waits_for_no_lock_that_a_thread_of_the_parent_held(
        self, lock: str, recorder: MemoryRecorder
    ) -> None:
        Budgets([Budget("team", 1)], recorder)
        holding, stop = threading.Event(), threading.Event()

        class Limited(InstrumentedAgent):
            max_run_cost_usd = 1.0

            def run(self) -> None:
                Chat(answers=[ONE_CENT]).invoke("x")

        def hold() -> None:
            with state.lock if lock == "of budgets" else run_limits._lock:
                holding.set()
                stop.wait(30)

        Limited.recorder = recorder
        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert holding.wait(10)
            child = os.fork()
            if not child:
                signal.alarm(10)  # ends a child that waits
                Limited().run()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
        finally:
            stop.set()
            thread.join()

    def test_a_forked_child_has_nothing_reserved(self, recorder: MemoryRecorder) -> None:
        budget = blocking(1, reserve="max_tokens")
        Budgets([budget], recorder)
        with track_call(
            "openai", "gpt-4o", recorder=recorder, max_input_tokens=1000, max_output_tokens=100
        ):
            child = os.fork()
            if not child:
                os._exit(0 if budget.status().reserved_usd == 0 else 1)
            assert os.waitpid(child, 0)[1] == 0
            assert budget.status().reserved_usd > 0


def test_threads_reserve_and_release_without_loss(recorder: MemoryRecorder) -> None:
    budget = blocking(100, reserve="max_tokens")
    Budgets([budget], recorder)
    chat = model(recorder)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: chat.invoke("x", max_tokens=10), range(400)))
    assert budget.status().reserved_usd == 0
    assert budget.status().spent_usd == pytest.approx(4.0)


def test_a_period_begins_once_whoever_asks_first() -> None:
    budget, begun = Budget("team", 1), []

    def follow(_: Budget, span: Span) -> None:
        begun.append(span)
        time.sleep(0.05)

    in_force = state.state_of(budget, follow, timezone.utc)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(budget.status, [1e9] * 4))
    assert in_force.budget is budget
    assert len(begun) == 1


class TestConfiguringAnew:
    """A budget stays right while calls go on that began before."""

    @pytest.fixture
    def team(self) -> Budget:
        return blocking(1, reserve="max_tokens")

    @pytest.mark.parametrize("recorders", [1, 2], ids=["the same recorder", "another recorder"])
    def test_the_same_budget_configured_anew_counts_a_call_that_is_open(
        self, recorders: int, team: Budget, recorder: MemoryRecorder
    ) -> None:
        before = Budgets([team], recorder)
        with track_call(
            "openai", "gpt-4o", recorder=recorder, max_input_tokens=CENT, max_output_tokens=0
        ) as call:
            before.close()
            Budgets([team], recorder if recorders == 1 else MemoryRecorder())
            assert team.status().reserved_usd == pytest.approx(0.01)
            call.record_usage(CENT, 0)
        assert team.status().reserved_usd == 0
        assert team.status().spent_usd == pytest.approx(0.01)

    def test_budgets_configured_inside_of_replaced_end_with_it(
        self, recorder: MemoryRecorder
    ) -> None:
        with replaced(MemoryRecorder()):
            configure(recorder, budgets=[blocking(0.0)])
        model(recorder).invoke("x")
        assert calls(recorder) == {("planner", "success"): 1}
