"""What the migration page says of our metrics' meaning: each claim holds."""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import httpx
import openai
import psutil
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.errors import GraphInterrupt

from agentmetrics import (
    Budget,
    BudgetExceeded,
    InstrumentedAgent,
    MemoryRecorder,
    MetricsCallbackHandler,
    configure,
    get_ledger,
    track_call,
)
from tests.integration.pages import allowed, page, rows, section, series
from tests.services.wire import Answer, Refusal, Wire

PAGE = page("migration.md")
MODEL, SERVED = "gpt-4o-mini", "gpt-4o-mini-2024-07-18"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unexpected type for token usage:UserWarning"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]


@pytest.fixture
def _asking_the_wire(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{wire.url}/v1")


@pytest.fixture
def handler(agent_metrics: MemoryRecorder) -> MetricsCallbackHandler:
    return MetricsCallbackHandler(agent_name="planner")


ENDINGS: dict[str, Callable[[], BaseException] | None] = {
    "success": None,
    "error": lambda: ValueError("a secret"),
    "cancelled": asyncio.CancelledError,
    "interrupted": GraphInterrupt,
}


def end(status: str) -> None:
    """Raise what ends a call, a run or a tool with this status."""
    make = ENDINGS[status]
    if make is not None:
        raise make()  # a new one: an exception that is kept keeps the run that it came from


def test_the_page_and_the_reference_have_the_same_words() -> None:
    meaning = section(PAGE, "What differs in meaning")
    assert [row[0].strip("`") for row in rows(meaning, "`status`", "")] == allowed("status")
    (ten,) = re.findall(r"\*\*`error_type` is one of ten\*\*: (.*?)\. It is", meaning, re.DOTALL)
    assert re.findall(r"`(\w+)`", ten) == allowed("error_type")
    assert len(allowed("error_type")) == 10
    assert allowed("token_type") == ["input", "output"]


@pytest.mark.parametrize("status", ENDINGS)
def test_calls_runs_and_tools_end_in_the_same_words(
    status: str, agent_metrics: MemoryRecorder, handler: MetricsCallbackHandler
) -> None:
    class Planner(InstrumentedAgent):
        def run(self) -> None:
            end(status)

    @tool
    def search() -> str:
        """Search."""
        end(status)
        return "found"

    with suppress(BaseException), track_call("openai", MODEL):
        end(status)
    with suppress(BaseException):
        Planner().run()
    with suppress(BaseException):
        search.invoke({}, config={"callbacks": [handler]})
    for name in ("llm_calls_total", "agent_runs_total", "tool_executions_total"):
        assert series(agent_metrics, name, "status") == {(status,): 1}
    errors = series(agent_metrics, "llm_errors_total", "error_type")
    assert errors == ({("other",): 1} if status == "error" else {})
    assert "secret" not in repr(agent_metrics.snapshot())
    assert "ValueError" not in repr(agent_metrics.snapshot())


def test_latency_is_that_of_failed_calls_too(agent_metrics: MemoryRecorder) -> None:
    for status in ENDINGS:
        with suppress(BaseException), track_call("openai", MODEL):
            end(status)
    latency = agent_metrics.histogram("llm_latency_seconds")
    assert latency.count == agent_metrics.value("llm_calls_total") == 4
    assert (latency.bounds[0], latency.bounds[-1]) == (0.1, 600)


def test_a_time_limit_of_ones_own_cancels_and_the_clients_is_an_error(
    agent_metrics: MemoryRecorder,
) -> None:
    async def waits() -> None:
        async with track_call("openai", MODEL):
            await asyncio.sleep(60)

    with pytest.raises(asyncio.TimeoutError):
        asyncio.run(asyncio.wait_for(waits(), 0.01))
    with pytest.raises(httpx.ReadTimeout), track_call("openai", MODEL):
        raise httpx.ReadTimeout("too slow")
    assert series(agent_metrics, "llm_calls_total", "status") == {("cancelled",): 1, ("error",): 1}
    assert series(agent_metrics, "llm_errors_total", "error_type") == {("timeout",): 1}


def test_an_exception_that_is_swallowed_in_the_block_is_no_error(
    agent_metrics: MemoryRecorder,
) -> None:
    with track_call("openai", MODEL), suppress(ValueError):
        raise ValueError
    assert series(agent_metrics, "llm_calls_total", "status") == {("success",): 1}


@pytest.mark.usefixtures("_asking_the_wire")
def test_each_attempt_of_a_retry_is_a_call(
    wire: Wire, agent_metrics: MemoryRecorder, handler: MetricsCallbackHandler
) -> None:
    wire.script(MODEL, Refusal(429), Answer())
    model = ChatOpenAI(model=MODEL, max_retries=0).with_retry(
        wait_exponential_jitter=False, retry_if_exception_type=(openai.RateLimitError,)
    )
    model.invoke("hello", {"callbacks": [handler]})
    assert series(agent_metrics, "llm_calls_total", "status") == {("error",): 1, ("success",): 1}
    # and the model is the one that was asked for, on success and failure alike
    assert series(agent_metrics, "llm_calls_total", "model", "status") == {
        (MODEL, "error"): 1,
        (MODEL, "success"): 1,
    }
    assert series(agent_metrics, "llm_served_calls_total", "model", "served_model") == {
        (MODEL, SERVED): 1
    }


def test_there_is_no_token_type_total(agent_metrics: MemoryRecorder) -> None:
    with track_call("openai", MODEL) as call:
        call.record_usage(input_tokens=30, output_tokens=12, reasoning_tokens=5)
    assert series(agent_metrics, "llm_tokens_total", "token_type") == {
        ("input",): 30,
        ("output",): 12,
    }
    assert agent_metrics.value("llm_tokens_total") == 42


@pytest.mark.usefixtures("_asking_the_wire")
def test_a_cached_answer_is_no_call(
    wire: Wire, agent_metrics: MemoryRecorder, handler: MetricsCallbackHandler
) -> None:
    model = ChatOpenAI(model=MODEL, cache=InMemoryCache())
    for _ in range(2):
        model.invoke("hello", {"callbacks": [handler]})
    assert wire.count() == 1
    billed = wire.calls[0].input_tokens + wire.calls[0].output_tokens
    assert agent_metrics.value("llm_cache_hits_total") == 1
    assert agent_metrics.value("llm_calls_total") == 1
    assert agent_metrics.value("llm_tokens_total") == billed
    assert agent_metrics.histogram("llm_latency_seconds").count == 1
    assert agent_metrics.histogram("llm_call_cost_usd").count == 1


@pytest.mark.usefixtures("_asking_the_wire")
def test_a_budgets_refusal_is_no_call_and_no_error_and_nothing_is_sent(wire: Wire) -> None:
    recorder = MemoryRecorder()
    configure(recorder, budgets=[Budget("none", limit_usd=0, action="block")])
    with pytest.raises(BudgetExceeded):
        ChatOpenAI(model=MODEL).invoke("hello", {"callbacks": [MetricsCallbackHandler()]})
    with pytest.raises(BudgetExceeded), track_call("openai", MODEL):
        pytest.fail("the block was entered")
    assert wire.count() == 0
    assert recorder.value("budget_blocked_calls_total", budget="none") == 2
    assert recorder.value("llm_calls_total") == 0
    assert recorder.value("llm_errors_total") == 0


def test_an_unknown_price_is_not_0_and_tokens_are_not_estimated(
    agent_metrics: MemoryRecorder,
) -> None:
    with track_call("openai", "house-model") as call:
        call.record_usage(input_tokens=10, output_tokens=5)
    with track_call("openai", MODEL):
        pass  # nobody says what it used
    assert series(agent_metrics, "llm_cost_usd_total", "model") == {}
    assert series(agent_metrics, "llm_unpriced_calls_total", "model") == {("house-model",): 1}
    assert agent_metrics.value("llm_tokens_total") == 15


def test_the_provider_comes_first_and_a_mix_up_shows_as_unpriced(
    agent_metrics: MemoryRecorder,
) -> None:
    assert list(inspect.signature(track_call).parameters)[:2] == ["provider", "model"]
    with track_call(MODEL, "openai") as call:
        call.record_usage(input_tokens=1, output_tokens=1)
    assert agent_metrics.value("llm_calls_total", provider=MODEL) == 1
    assert agent_metrics.value("llm_unpriced_calls_total") == 1


def test_what_is_active_goes_down_when_a_task_is_killed(agent_metrics: MemoryRecorder) -> None:
    async def killed() -> tuple[float, float]:
        async def call() -> None:
            async with track_call("openai", MODEL):
                await asyncio.sleep(60)

        task = asyncio.create_task(call())
        await asyncio.sleep(0.01)
        meanwhile = agent_metrics.value("llm_active_calls")
        task.cancel()
        await asyncio.wait([task])
        return meanwhile, agent_metrics.value("llm_active_calls")

    assert asyncio.run(killed()) == (1, 0)


def test_memory_is_in_mebibytes(agent_metrics: MemoryRecorder) -> None:
    with track_call("openai", MODEL):
        pass
    rss = psutil.Process().memory_info().rss / 2**20
    available = psutil.virtual_memory().available / 2**20
    assert agent_metrics.value("llm_memory_rss_mb") == pytest.approx(rss, rel=0.2)
    assert agent_metrics.value("llm_memory_available_mb") == pytest.approx(available, rel=0.2)


@pytest.mark.parametrize(
    ("level", "points"),
    [(logging.DEBUG, ["start", "request", "response", "metrics"]), (logging.INFO, [])],
)
def test_a_call_that_goes_well_logs_its_points_at_debug_and_nothing_above(
    agent_metrics: MemoryRecorder, caplog: pytest.LogCaptureFixture, level: int, points: list[str]
) -> None:
    with caplog.at_level(level, "agentmetrics.calls"), track_call("openai", MODEL) as call:
        call.record_usage(input_tokens=1, output_tokens=1)
    assert [record.getMessage().split()[0] for record in caplog.records] == points


@pytest.mark.usefixtures("agent_metrics")
def test_a_ledgers_summary_has_what_the_table_says(tmp_path: Path) -> None:
    configure(ledger_url=f"sqlite:///{tmp_path}/spend.db", extra_labels="tenant")
    with track_call("openai", MODEL, agent_name="planner") as call:
        call.record_usage(input_tokens=1000, output_tokens=100)
    with suppress(ValueError), track_call("openai", MODEL, agent_name="planner"):
        raise ValueError
    with track_call("openai", "house-model") as call:
        call.record_usage(input_tokens=10, output_tokens=5)
    labels = ["agent", "provider", "model", "status", "tenant"]
    summary = get_ledger().summary("daily", by=labels)
    assert summary.total.cost_usd == Decimal("0.00021")
    assert summary.total.cost_nano_usd == 210_000
    assert (summary.total.input_tokens, summary.total.output_tokens) == (1010, 105)
    assert (summary.total.calls, summary.total.unpriced_calls) == (3, 1)
    assert summary.total.unmetered_calls == 1
    by_status = get_ledger().summary("daily", by=["status"])
    calls = {group.labels["status"]: group.amounts.calls for group in by_status.groups}
    assert calls == {"success": 2, "error": 1}
    assert summary.timezone == "UTC"
    head = "a daily summary has", "the ledger's has"
    names = " ".join(ours for _, ours in rows(section(PAGE, "Cost and budgets"), *head))
    for name in re.findall(r"`(?:total\.)?([a-z_]+)`", names):
        known = {*labels, *dir(summary), *dir(summary.total)}
        assert name in known, name
    for period in ("weekly", "monthly"):
        assert get_ledger().summary(period).total.calls == 3
