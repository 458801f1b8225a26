"""A gate that fails does not open, and what cannot be understood is neither counted nor spent."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    InstrumentedAgent,
    Ledger,
    MemoryRecorder,
    MetricsCallbackHandler,
    record_call,
    track_call,
    track_run,
)
from agentmetrics.pipeline import pipeline_of
from agentmetrics.pricing.rates import Rates


def class_of(value: object) -> str:
    return type(value).__name__


class Index:
    """As the integers of numpy and others are."""

    def __index__(self) -> int:
        return 100

    __int__ = __index__

    def __eq__(self, other: object) -> bool:
        return other == 100

    __hash__ = None  # type: ignore[assignment]


class Raises:
    def __int__(self) -> int:
        raise ValueError

    __index__ = __float__ = __str__ = __repr__ = __int__  # type: ignore[assignment]


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def reserving(recorder: MemoryRecorder) -> Iterator[Budgets]:
    limit = Budget("all", 1.0, action="block", reserve="max_tokens")
    budgets = Budgets([limit], recorder)
    yield budgets
    budgets.close()


NO_BOUNDS = [
    *(math.nan, math.inf, -math.inf, 1e308, -1, -0.5, 1.5, 10**400, 2**53, True, "100", b"100"),
    *(Decimal("NaN"), Decimal("1.5"), [], {}, object(), Raises(), 1j),
]


@pytest.mark.parametrize("bound", NO_BOUNDS, ids=class_of)
@pytest.mark.parametrize("which", ["max_input_tokens", "max_output_tokens"])
def test_a_bound_that_is_none_is_refused_and_said(
    bound: Any, which: str, reserving: Budgets, recorder: MemoryRecorder
) -> None:
    bounds = {"max_input_tokens": 100, "max_output_tokens": 100, which: bound}
    with (
        pytest.raises(BudgetExceeded, match="only admits calls that set max_tokens"),
        track_call("openai", "gpt-4o", recorder=recorder, **bounds),
    ):
        pass
    assert recorder.value("agentmetrics_handler_errors_total", event="admit") == 1
    assert recorder.value("budget_blocked_calls_total", budget="all") == 1
    [status] = reserving.status()
    assert (status.spent_usd, status.reserved_usd) == (0, 0)


@pytest.mark.parametrize("bound", [100, 100.0, Decimal(100), Fraction(100), Index()], ids=class_of)
def test_a_bound_of_any_class_of_numbers_is_one(
    bound: Any, reserving: Budgets, recorder: MemoryRecorder
) -> None:
    with track_call(
        "openai", "gpt-4o", recorder=recorder, max_input_tokens=bound, max_output_tokens=bound
    ):
        [status] = reserving.status()
    assert status.reserved_usd == pytest.approx(100 * (2.5 + 10) / 1e6)


@pytest.mark.parametrize("rate", [math.nan, math.inf, 1e308, -1.0])
def test_a_price_that_cannot_be_is_none(
    rate: float, reserving: Budgets, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    prices = pipeline_of(recorder).prices
    quote = prices.find("openai", "gpt-4o")
    assert quote is not None
    object.__setattr__(quote, "price", Rates.of_usd(input=rate, output=10.0))
    monkeypatch.setattr(prices, "find", lambda *_: quote)
    with (
        pytest.raises(BudgetExceeded, match="have a known price"),
        track_call("openai", "gpt-4o", recorder=recorder, max_input_tokens=1, max_output_tokens=1),
    ):
        pass
    record_call("openai", "gpt-4o", input_tokens=1, output_tokens=1, recorder=recorder)
    assert recorder.value("llm_cost_usd_total") == 0
    assert recorder.value("llm_unpriced_calls_total") == 1
    assert recorder.value("agentmetrics_handler_errors_total", event="price") > 0


@pytest.mark.parametrize(
    "limit", [math.nan, math.inf, -1.0, "5", True, object(), Raises()], ids=type
)
def test_a_limit_of_a_run_that_is_none_lets_no_call_through(
    limit: Any, recorder: MemoryRecorder
) -> None:
    class Agent(InstrumentedAgent):
        max_run_cost_usd = limit

        def run(self) -> None:
            with self.track_call("openai", "gpt-4o"):
                pytest.fail("a call was let through")

    Agent.recorder = recorder
    with pytest.raises(BudgetExceeded):
        Agent().run()
    with (
        pytest.raises(BudgetExceeded),
        track_run("a", max_cost_usd=limit, recorder=recorder),
        track_call("openai", "gpt-4o", recorder=recorder),
    ):
        pytest.fail("a call was let through")
    assert recorder.value("agentmetrics_handler_errors_total", event="max_cost_usd") == 2


@pytest.mark.parametrize(
    "event",
    [
        {"metadata": Raises(), "messages": [[]]},
        {"messages": None},
        {"messages": [[Raises()]]},
        {"parent_run_id": Raises()},
        {"run_id": Raises()},
        {"run_id": None},
    ],
    ids=["metadata", "no messages", "a message", "parent", "run id", "no run id"],
)
def test_an_event_that_cannot_be_read_is_refused(
    event: dict[str, Any], reserving: Budgets, recorder: MemoryRecorder
) -> None:
    handler = MetricsCallbackHandler(recorder)
    sent = {
        "run_id": uuid.uuid4(),
        "metadata": {"ls_provider": "openai", "ls_model_name": "gpt-4o"},
        "invocation_params": {"max_tokens": 10},
        **event,
    }
    with pytest.raises(BudgetExceeded):
        handler.on_chat_model_start({}, **sent)
    assert recorder.value("llm_active_calls") == 0


def test_a_budget_that_fails_refuses(
    reserving: Budgets, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(reserving, "_refusal", fail)
    with (
        pytest.raises(BudgetExceeded, match="cannot be checked"),
        track_call("openai", "gpt-4o", recorder=recorder),
    ):
        pass
    assert recorder.value("agentmetrics_handler_errors_total", event="admit") == 1


NO_COSTS = [math.nan, math.inf, -math.inf, -1, 1e308, 1e9, "5", True, object(), Raises(), 10**400]


@pytest.mark.parametrize("cost", NO_COSTS, ids=class_of)
def test_a_cost_that_cannot_be_is_counted_nowhere(
    cost: Any, recorder: MemoryRecorder, tmp_path: Path
) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/x.db", flush_interval_seconds=1000)
    ledger.attach(recorder)
    budgets = Budgets([Budget("all", 1.0)], recorder, ledger=ledger)
    with track_call("nobody", "model", recorder=recorder) as tracked:
        tracked.record_usage(1, 1, cost_usd=cost)
    record_call("nobody", "model", cost_usd=cost, recorder=recorder)
    ledger.flush()
    assert recorder.value("llm_calls_total") == 2
    assert recorder.value("llm_cost_usd_total") == 0
    assert ledger.summary().total.cost_nano_usd == 0
    assert budgets.status()[0].spent_usd == 0
    assert recorder.value("agentmetrics_handler_errors_total", event="record_usage") == 1
    assert recorder.value("agentmetrics_handler_errors_total", event="record_call") == 1
    budgets.close()
    ledger.close()


@pytest.mark.parametrize("tokens", NO_BOUNDS, ids=class_of)
def test_usage_that_cannot_be_has_no_price_and_what_can_be_of_it_counts(
    tokens: Any, recorder: MemoryRecorder
) -> None:
    with track_call("openai", "gpt-4o", recorder=recorder) as tracked:
        tracked.record_response({"usage": {"prompt_tokens": tokens, "completion_tokens": 1}})
    with track_call("openai", "gpt-4o", recorder=recorder) as tracked:
        tracked.record_usage(tokens, 1)
    assert recorder.value("llm_unpriced_calls_total") == 2
    assert recorder.value("llm_tokens_total") == 2
    assert recorder.value("llm_cost_usd_total") == 0
    assert recorder.value("agentmetrics_handler_errors_total") == 2
