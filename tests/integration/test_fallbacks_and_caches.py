"""Fallbacks, LLM caches and prompt caches over HTTP, beside what the provider counted."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import ModelFallbackMiddleware
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps, loads

from agentmetrics import InstrumentedCache, MemoryRecorder, MetricsCallbackHandler
from tests.integration.apps import traffic
from tests.services.wire import Answer, Refusal, Wire
from tests.unit.scripted import by

pytestmark = [
    # langchain-openai's own, about fields of the openai package that are None
    pytest.mark.filterwarnings("ignore:Unexpected type for token usage:UserWarning"),
    # langchain-core's, on loads(), and on loads() without a list of what may be loaded
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]

MODEL, OTHER = "gpt-4o", "gpt-4o-mini"
TASK: Any = {"messages": [("user", "x")]}
BUSY = Refusal(429, "rate_limit_exceeded")
DOWN = Refusal(503)

Ask = Callable[[Any, Any, Any], Any]


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


WAYS: dict[str, Ask] = {
    "invoke": lambda chain, x, config: chain.invoke(x, config),
    "ainvoke": lambda chain, x, config: asyncio.run(chain.ainvoke(x, config)),
    "stream": lambda chain, x, config: list(chain.stream(x, config)),
    "astream": lambda chain, x, config: asyncio.run(_read(chain.astream(x, config))),
    "batch": lambda chain, x, config: chain.batch([x], config),
    "abatch": lambda chain, x, config: asyncio.run(chain.abatch([x], config)),
}
# On Python 3.10 LangGraph does not tell async nodes, and so their models, what they run in.
AGENT_WAYS = ["invoke", "stream", *(["ainvoke", "astream"] if sys.version_info >= (3, 11) else [])]


class SQLiteCache(BaseCache):
    """Answers in a file, as LangChain's cache of this name keeps them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("CREATE TABLE IF NOT EXISTS answers (prompt, llm, answer)")

    def lookup(self, prompt: str, llm_string: str) -> Any:
        with closing(sqlite3.connect(self.path)) as database, database:
            found = database.execute(
                "SELECT answer FROM answers WHERE prompt = ? AND llm = ?", (prompt, llm_string)
            ).fetchall()
        return [loads(text) for (text,) in found] or None

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        rows = [(prompt, llm_string, dumps(generation)) for generation in return_val]
        with closing(sqlite3.connect(self.path)) as database, database:
            database.executemany("INSERT INTO answers VALUES (?, ?, ?)", rows)

    def clear(self, **_: Any) -> None:
        self.path.unlink()


@pytest.fixture
def recorder(agent_metrics: MemoryRecorder) -> Iterator[MemoryRecorder]:
    """The configured one, in which no error of ours and nothing open is left afterwards."""
    yield agent_metrics
    set_llm_cache(None)
    assert agent_metrics.value("agentmetrics_handler_errors_total") == 0
    assert agent_metrics.value("agentmetrics_open_runs") == 0


@pytest.fixture
def config(recorder: MemoryRecorder) -> Any:
    """A handler that records in the configured recorder, and the intent of the run."""
    return {"callbacks": [MetricsCallbackHandler()], "metadata": {"intent": "summary"}}


@pytest.fixture
def openai(wire: Wire) -> Callable[..., BaseChatModel]:
    return lambda model, **options: traffic.openai(wire, "tester", model, **options)


@pytest.fixture
def claude(wire: Wire) -> BaseChatModel:
    return traffic.anthropic(wire, "tester", "claude-haiku-4-5")


def fallbacks(recorder: MemoryRecorder) -> dict[tuple[str, str], float]:
    return by(recorder, "model_fallbacks_total", "intent", "reason")


class TestFallbacks:
    @pytest.mark.parametrize("way", WAYS)
    def test_fallbacks_to_another_provider_count_with_their_reasons(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any, claude: Any, way: str
    ) -> None:
        wire.script(MODEL, BUSY)
        wire.script(OTHER, DOWN)
        model = openai(MODEL).with_fallbacks([openai(OTHER), claude])
        WAYS[way](model, "x", config)
        assert [(call.model, call.http_status) for call in wire.calls] == [
            (MODEL, 429),
            (OTHER, 503),
            ("claude-haiku-4-5-20251001", 200),
        ]
        assert fallbacks(recorder) == {("summary", "rate_limit"): 1, ("summary", "server_error"): 1}
        assert by(recorder, "llm_calls_total", "provider", "status") == {
            ("openai", "error"): 2,
            ("anthropic", "success"): 1,
        }

    @pytest.mark.parametrize("way", WAYS)
    def test_fallbacks_that_were_not_needed_do_not_count(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any, claude: Any, way: str
    ) -> None:
        WAYS[way](openai(MODEL).with_fallbacks([claude]), "x", config)
        assert wire.count() == 1
        assert fallbacks(recorder) == {}

    def test_fallbacks_after_the_providers_own_package_has_retried_count_once(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any, claude: Any
    ) -> None:
        wire.script(MODEL, BUSY, BUSY)
        openai(MODEL, max_retries=1).with_fallbacks([claude]).invoke("x", config)
        assert wire.count(model=MODEL, http_status=429) == 2
        assert fallbacks(recorder) == {("summary", "rate_limit"): 1}

    def test_fallbacks_where_half_of_a_batch_was_refused_count_for_that_half(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any, claude: Any
    ) -> None:
        wire.script(MODEL, BUSY, Answer(), BUSY, Answer())
        model = openai(MODEL).with_fallbacks([claude])
        model.batch(["a", "b", "c", "d"], {**config, "max_concurrency": 1})
        assert wire.count(api="anthropic", http_status=200) == 2
        assert fallbacks(recorder) == {("summary", "rate_limit"): 2}

    @pytest.mark.parametrize("way", AGENT_WAYS)
    def test_fallbacks_of_an_agents_middleware_count_with_their_reasons(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any, claude: Any, way: str
    ) -> None:
        wire.script(MODEL, BUSY)
        wire.script(OTHER, DOWN)
        middleware = [ModelFallbackMiddleware(openai(OTHER), claude)]
        agent = create_agent(
            openai(MODEL), [traffic.add], middleware=middleware, name="clerk", system_prompt="Help."
        )
        adds = Answer(tools=(("add", {"a": 1, "b": 2}),))
        wire.script("claude-haiku-4-5", adds)
        WAYS[way](agent, TASK, config)
        # the agent's second question goes to the first model again, which now answers
        assert wire.count(http_status=200, api="openai") == 1
        assert fallbacks(recorder) == {("summary", "rate_limit"): 1, ("summary", "server_error"): 1}
        assert by(recorder, "llm_calls_total", "agent_name", "status") == {
            ("clerk", "error"): 2,
            ("clerk", "success"): 2,
        }


class TestCaches:
    @pytest.mark.parametrize("way", ["invoke", "ainvoke", "batch", "abatch"])
    @pytest.mark.parametrize("instrumented", [False, True], ids=["plain", "instrumented"])
    def test_caches_ask_the_provider_once(
        self,
        wire: Wire,
        recorder: MemoryRecorder,
        config: Any,
        openai: Any,
        way: str,
        instrumented: bool,
    ) -> None:
        set_llm_cache(InstrumentedCache(InMemoryCache()) if instrumented else InMemoryCache())
        for x in "aab":
            WAYS[way](openai(MODEL), x, config)
        assert wire.count() == recorder.value("llm_calls_total") == 2
        assert by(recorder, "llm_cache_misses_total", "model") == {"gpt-4o": 2}
        assert by(recorder, "llm_cache_hits_total", "model") == {"gpt-4o": 1}
        billed = sum(call.input_tokens + call.output_tokens for call in wire.calls)
        assert recorder.value("llm_tokens_total") == billed
        assert recorder.histogram("llm_latency_seconds").count == 2
        assert recorder.histogram("llm_api_latency_seconds").count == 2

    def test_caches_in_a_file_answer_the_next_process(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any, tmp_path: Path
    ) -> None:
        path = tmp_path / "answers.sqlite"
        set_llm_cache(SQLiteCache(path))
        openai(MODEL).invoke("a")
        set_llm_cache(
            InstrumentedCache(SQLiteCache(path), "disk", size_bytes=lambda: path.stat().st_size)
        )
        openai(MODEL).invoke("a", config)
        asyncio.run(openai(MODEL).ainvoke("a", config))
        assert wire.count() == 1
        assert recorder.value("llm_calls_total") == recorder.value("llm_cost_usd_total") == 0
        assert recorder.value("llm_cache_hits_total") == 2
        assert recorder.value("cache_hits_total", cache_type="disk") == 2
        assert recorder.value("cache_size_bytes", cache_type="disk") == path.stat().st_size

    def test_caches_asked_by_equal_calls_at_once_bill_what_the_provider_billed(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any
    ) -> None:
        set_llm_cache(InMemoryCache())
        wire.script(MODEL, Answer(seconds=0.03))
        model = openai(MODEL)

        async def at_once() -> None:
            async def later(number: int) -> None:
                await asyncio.sleep(0.004 * number)
                await model.ainvoke("a", config)

            await asyncio.gather(*map(later, range(12)))

        asyncio.run(at_once())
        billed = sum(call.input_tokens + call.output_tokens for call in wire.calls)
        assert recorder.value("llm_tokens_total") == billed
        assert recorder.value("llm_calls_total") == wire.count()
        assert recorder.value("llm_cache_misses_total") == wire.count()
        assert recorder.value("llm_cache_hits_total") == 12 - wire.count()

    def test_caches_do_not_stand_before_streams(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any
    ) -> None:
        set_llm_cache(InMemoryCache())
        for _ in range(2):
            list(openai(MODEL).stream("a", config))
        assert wire.count() == recorder.value("llm_calls_total") == 2
        assert recorder.value("llm_cache_misses_total") == 0


class TestPromptCaches:
    def test_prompt_caches_save_what_was_read_from_them(
        self, wire: Wire, recorder: MemoryRecorder, config: Any, openai: Any, claude: Any
    ) -> None:
        wire.script(MODEL, Answer(cache_read=2048), Answer())
        wire.script("claude-haiku-4-5", Answer(cache_read=4000, cache_creation=500))
        openai(MODEL).invoke("a", config)
        openai(MODEL).invoke("a", config)
        list(claude.stream("a", config))
        # USD a million tokens, from openai.com/api/pricing and anthropic.com/pricing
        saved = (2048 * (2.50 - 1.25) + 4000 * (1.00 - 0.10)) / 1_000_000
        assert by(recorder, "model_cost_savings_usd_total", "intent") == {
            "prompt_cache": pytest.approx(saved)
        }
