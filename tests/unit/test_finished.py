"""record_call and record_tool: calls and tools that were over before they are told."""

from __future__ import annotations

import math
import time
from datetime import datetime, timedelta, timezone

import pytest

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    Ledger,
    Usage,
    labels,
    record_call,
    record_tool,
    track_call,
    track_run,
)

GPT = ("openai", "gpt-4o-mini")
MINI_USD = 1000 * 0.15e-6 + 100 * 0.60e-6  # its price a token, in and out


def calls(recorder, status="success", **labels):
    return recorder.value("llm_calls_total", status=status, **labels)


def not_understood(recorder, event="record_call"):
    return recorder.value("agentmetrics_handler_errors_total", event=event)


class TestACall:
    def test_a_call_has_what_it_was_told_and_the_price_of_its_model(self, recorder):
        record_call(
            *GPT, agent_name="clerk", duration_seconds=2.0, input_tokens=1000, output_tokens=100
        )
        assert calls(recorder, agent_name="clerk", provider="openai", model="gpt-4o-mini") == 1
        assert recorder.value("llm_tokens_total", token_type="input") == 1000
        assert recorder.value("llm_tokens_total", token_type="output") == 100
        assert recorder.value("llm_cost_usd_total") == pytest.approx(MINI_USD)
        assert recorder.histogram("llm_latency_seconds", agent_name="clerk").sum == 2.0
        assert recorder.value("agentmetrics_open_runs") == not_understood(recorder) == 0

    def test_a_call_may_have_every_kind_of_token(self, recorder):
        record_call(*GPT, duration_seconds=1, usage=Usage(100, 50, 40, reasoning_tokens=20))
        assert recorder.value("llm_token_details_total", token_detail="cache_read") == 40
        assert recorder.value("llm_token_details_total", token_detail="reasoning") == 20

    def test_a_call_costs_what_it_was_told_to(self, recorder):
        record_call(*GPT, duration_seconds=1, input_tokens=10, output_tokens=1, cost_usd=0.25)
        record_call("house", "unpriced-1", duration_seconds=1, input_tokens=1, cost_usd=0.5)
        assert recorder.value("llm_cost_usd_total") == 0.75
        assert recorder.value("llm_unpriced_calls_total") == 0

    def test_a_call_with_a_cost_and_no_usage_is_unmetered_and_costs_that(self, recorder):
        record_call(*GPT, duration_seconds=1, cost_usd=0.25)
        assert recorder.value("llm_cost_usd_total") == 0.25
        assert recorder.histogram("llm_call_cost_usd").sum == 0.25
        assert recorder.value("llm_unmetered_calls_total") == 1

    def test_a_call_without_a_duration_has_no_latency(self, recorder):
        record_call(*GPT, input_tokens=1000, output_tokens=100)
        assert calls(recorder) == 1
        assert recorder.value("llm_cost_usd_total") == pytest.approx(MINI_USD)
        assert recorder.histogram("llm_latency_seconds").count == 0

    def test_a_call_that_a_cache_answered_is_a_hit_and_bills_nothing(self, recorder):
        record_call(*GPT, agent_name="clerk", cached=True, input_tokens=1000, output_tokens=100)
        assert recorder.value("llm_cache_hits_total", agent_name="clerk") == 1
        assert calls(recorder) == recorder.value("llm_cost_usd_total") == 0

    @pytest.mark.parametrize(
        ("told", "status", "error_type"),
        [
            ({"status": "error"}, "error", "other"),
            ({"error_type": "rate_limit"}, "error", "rate_limit"),
            ({"status": "error", "error_type": "timeout"}, "error", "timeout"),
            ({"error_type": TimeoutError()}, "error", "timeout"),
            ({"error_type": ConnectionError}, "error", "connection"),
            ({"error_type": UnicodeDecodeError}, "error", "other"),  # it wants arguments
        ],
    )
    def test_a_call_that_failed_says_why(self, recorder, told, status, error_type):
        record_call(*GPT, duration_seconds=1, **told)
        assert calls(recorder, status) == 1
        assert recorder.value("llm_errors_total", error_type=error_type) == 1

    @pytest.mark.parametrize(
        "told",
        [
            {"status": "cancelled"},
            {"error_type": KeyboardInterrupt},
            {"error_type": GeneratorExit()},
        ],
    )
    def test_a_call_that_was_cancelled_is_no_error(self, recorder, told):
        record_call(*GPT, duration_seconds=1, **told)
        assert calls(recorder, "cancelled") == 1
        assert recorder.value("llm_errors_total") == 0

    def test_a_call_is_the_enclosing_agents_and_in_its_totals(self, recorder):
        with track_run("reviewer"):
            record_call(*GPT, duration_seconds=1, input_tokens=1000, output_tokens=100)
            record_tool("search", duration_seconds=1)
        assert calls(recorder, agent_name="reviewer") == 1
        assert recorder.value("tool_executions_total", agent_name="reviewer") == 1
        totals = ("agent_run_llm_calls", "agent_run_tool_calls", "agent_run_tokens")
        assert [recorder.histogram(total).sum for total in totals] == [1, 1, 1100]

    def test_a_call_knows_the_first_token_of_a_stream_and_the_model_that_served(self, recorder):
        record_call(
            *GPT,
            duration_seconds=2,
            time_to_first_token_seconds=0.5,
            served_model="gpt-4o-mini-2024-07-18",
            input_tokens=1000,
            output_tokens=100,
        )
        assert recorder.histogram("llm_time_to_first_token_seconds").sum == 0.5
        assert recorder.value("llm_served_calls_total", served_model="gpt-4o-mini-2024-07-18") == 1


class TestATool:
    def test_a_tool_has_its_duration_and_status(self, recorder):
        record_tool("search", agent_name="clerk", duration_seconds=0.5)
        record_tool("search", agent_name="clerk", error=TimeoutError())
        record_tool("search", agent_name="clerk", status="cancelled")
        own = {"agent_name": "clerk", "tool_name": "search"}
        for status in ("success", "error", "cancelled"):
            assert recorder.value("tool_executions_total", **own, status=status) == 1
        duration = recorder.histogram("tool_execution_duration_seconds", **own)
        assert (duration.count, duration.sum) == (1, 0.5)


class TestTime:
    """A ledger has a call where it ended."""

    def hour(self, ledger, since, until):
        return ledger.summary("daily", since=since, until=until).total.calls

    @pytest.mark.parametrize("as_datetime", [False, True])
    def test_a_call_of_yesterday_is_in_yesterdays_spend(self, recorder, tmp_path, as_datetime):
        now = datetime.now(timezone.utc)
        began = now - timedelta(days=1)
        with Ledger(f"sqlite:///{tmp_path / 'spend.db'}") as ledger:
            ledger.attach(recorder)
            started = began if as_datetime else began.timestamp()
            record_call(*GPT, duration_seconds=1, started=started, input_tokens=1000)
            ledger.flush()
            today = now.replace(hour=0, minute=0, second=0, microsecond=0)
            assert self.hour(ledger, today, today + timedelta(days=1)) == 0
            assert self.hour(ledger, today - timedelta(days=1), today) == 1

    def test_a_call_that_ends_in_the_future_ended_now(self, recorder):
        record_call(*GPT, duration_seconds=3, started=time.time() + 60)
        assert calls(recorder) == not_understood(recorder) == 1
        assert recorder.histogram("llm_latency_seconds").sum == 3

    def test_a_clock_that_is_a_little_ahead_is_no_future(self, recorder):
        record_call(*GPT, duration_seconds=0.1, started=time.time())
        assert calls(recorder) == 1
        assert not_understood(recorder) == 0


@pytest.mark.parametrize("wrong", [-1, math.nan, math.inf, "soon", object()])
class TestWhatCannotBe:
    @pytest.mark.parametrize("name", ["duration_seconds", "started", "time_to_first_token_seconds"])
    def test_a_time_that_cannot_be_is_left_out_and_counted(self, recorder, name, wrong):
        record_call(*GPT, **{name: wrong}, input_tokens=1000, output_tokens=100)
        assert calls(recorder) == not_understood(recorder) == 1
        assert recorder.value("llm_tokens_total") == 1100
        assert recorder.histogram("llm_latency_seconds").count == 0

    def test_a_cost_that_cannot_be_is_the_models_price(self, recorder, wrong):
        record_call(*GPT, input_tokens=1000, output_tokens=100, cost_usd=wrong)
        assert recorder.value("llm_cost_usd_total") == pytest.approx(MINI_USD)
        assert not_understood(recorder) == 1

    def test_tokens_that_cannot_be_leave_those_that_can_without_a_price(self, recorder, wrong):
        record_call(*GPT, duration_seconds=1, input_tokens=wrong, output_tokens=100)
        assert calls(recorder) == not_understood(recorder) == 1
        assert recorder.value("llm_tokens_total") == 100
        assert recorder.value("llm_unpriced_calls_total") == 1


class TestAUsageThatCannotBe:
    def test_a_usage_whose_parts_cannot_be_leaves_the_whole(self, recorder):
        record_call(*GPT, duration_seconds=1, usage=Usage(1000, 100, cache_read_tokens=1001))
        assert calls(recorder) == not_understood(recorder) == 1
        assert recorder.value("llm_tokens_total") == 1100
        assert recorder.value("llm_token_details_total") == 0
        assert recorder.value("llm_unpriced_calls_total") == 1

    def test_a_usage_of_which_a_response_left_out_a_part_is_counted_as_such(self, recorder):
        block = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 50}
        record_call(*GPT, duration_seconds=1, usage=Usage.from_response({"usage": block}))
        assert calls(recorder) == not_understood(recorder) == 1
        assert recorder.value("llm_tokens_total") == 1100


class TestWrongArguments:
    @pytest.mark.parametrize(
        ("told", "said"),
        [
            ({"status": "ok"}, "status='ok': use one of 'success', 'error'"),
            ({"error_type": "oops"}, "error_type='oops': use one of 'timeout'"),
            (
                {"status": "success", "error_type": "timeout"},
                "status='success': the error that was passed makes it 'error'",
            ),
            ({"cached": True, "status": "error"}, "cached=True: what a cache answers"),
            ({"cached": True, "cost_usd": 1.0}, "cached=True: what a cache answers"),
            ({"usage": Usage(1, 1), "input_tokens": 1}, "pass one or the other"),
        ],
    )
    def test_arguments_that_contradict_each_other_are_refused(self, recorder, told, said):
        with pytest.raises(ValueError, match=said):
            record_call(*GPT, **told)
        assert calls(recorder) == 0

    def test_a_usage_that_is_none_is_refused(self):
        with pytest.raises(TypeError, match=r"Usage\.from_response\(response\)"):
            record_call(*GPT, usage={"input_tokens": 1})  # type: ignore[arg-type]

    def test_an_error_is_not_quoted(self):
        with pytest.raises(ValueError, match=r"^(?!.*secret)"):
            record_call(*GPT, status="success", error_type=RuntimeError("secret"))


class TestMoney:
    def test_a_budget_counts_a_call_that_it_could_not_refuse(self, recorder, tmp_path):
        for has_ledger in (False, True):
            ledger = Ledger(f"sqlite:///{tmp_path / 'spend.db'}") if has_ledger else None
            if ledger:
                ledger.attach(recorder)
            budget = Budget("team", 1.0, action="block")
            budgets = Budgets([budget], recorder, ledger=ledger)
            record_call(*GPT, duration_seconds=1, cost_usd=0.75)
            assert budget.status().spent_usd == 0.75
            record_call(*GPT, duration_seconds=1, cost_usd=0.75)
            assert budget.status().spent_usd == 1.5
            record_call(*GPT, duration_seconds=1, cost_usd=0.75)  # over, and already spent
            assert budget.status().spent_usd == 2.25
            with pytest.raises(BudgetExceeded), track_call(*GPT):
                raise AssertionError("it was let through")
            budgets.close()
            if ledger:
                ledger.flush()
                assert float(ledger.summary("daily").total.cost_usd) == 2.25
                ledger.close()

    def test_a_tracked_call_says_what_it_cost(self, recorder):
        with track_call(*GPT) as call:
            assert call.cost_usd is None
            call.record_usage(1000, 100)
        assert call.cost_usd == pytest.approx(MINI_USD)
        with track_call("house", "unpriced-1") as call:
            call.record_usage(1000, 100)
        assert call.cost_usd is None

    def test_a_tracked_call_costs_what_it_was_told_to(self, recorder):
        with track_call(*GPT) as call:
            call.record_usage(1000, 100, cost_usd=0.5)
        assert call.cost_usd == recorder.value("llm_cost_usd_total") == 0.5

    def test_a_tracked_call_that_a_cache_answered_costs_nothing(self, recorder):
        with track_call(*GPT, agent_name="clerk") as call:
            call.record_cached()
            call.record_usage(1000, 100)
        assert recorder.value("llm_cache_hits_total", agent_name="clerk") == 1
        assert call.cost_usd is None
        assert calls(recorder) == recorder.value("llm_cost_usd_total") == 0


def test_extra_labels_are_those_around(recorder):
    from agentmetrics import MemoryRecorder
    from agentmetrics.pipeline import Options, pipeline_of

    labelled = MemoryRecorder()
    pipeline_of(labelled, Options(extra_labels=("tenant",)))
    with labels(tenant="acme"):
        record_call(*GPT, duration_seconds=1, recorder=labelled)
        record_tool("search", duration_seconds=1, recorder=labelled)
    assert calls(labelled, tenant="acme") == 1
    assert labelled.value("tool_executions_total", tenant="acme", status="success") == 1
