"""LangChain's LLM cache: hits and misses on every path, and what a hit must never be."""

from __future__ import annotations

import asyncio
import gc
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.globals import set_llm_cache
from langchain_core.load import dumps, loads
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langchain_core.runnables import RunnableConfig, RunnableLambda

from agentmetrics import (
    BudgetExceeded,
    InstrumentedAgent,
    InstrumentedCache,
    MemoryRecorder,
    MetricsCallbackHandler,
)
from agentmetrics.calls.facts import LLMCall
from agentmetrics.pipeline import pipeline_of
from tests.unit.scripted import Chat, StreamingChat, Text, answer, assert_settled, by, errors

pytestmark = [
    pytest.mark.usefixtures("caches_let_go"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    # of langchain-core, on loads() without a list of what may be loaded
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]


class TextCache(BaseCache):
    """Keeps answers as text, which is what a cache in a database does."""

    def __init__(self, shelf: dict[Any, Any] | None = None) -> None:
        self.shelf = {} if shelf is None else shelf

    def lookup(self, prompt: str, llm_string: str) -> Any:
        found = self.shelf.get((prompt, llm_string))
        return None if found is None else [loads(text) for text in found]

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self.shelf[prompt, llm_string] = [dumps(generation) for generation in return_val]

    def clear(self, **_: Any) -> None:
        self.shelf.clear()


class OldCache(InMemoryCache):
    """Gives generations without messages, as old caches in databases do."""

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        super().update(prompt, llm_string, [Generation(text=g.text) for g in return_val])


class NoCache(InMemoryCache):
    """Answers nothing."""

    def lookup(self, prompt: str, llm_string: str) -> Any:
        return None


@pytest.fixture
def config(handler: MetricsCallbackHandler) -> RunnableConfig:
    """The handler, and a name for the agent."""
    return {"callbacks": [handler], "metadata": {"agent_name": "tester"}}


@pytest.fixture(autouse=True)
def nothing_is_left(recorder):
    yield
    set_llm_cache(None)
    assert errors(recorder) == {}
    assert_settled(recorder)


def chat(kind: type[Chat] = Chat, **options: Any) -> Chat:
    """A model of whose answers no two are one object or bill the same."""
    answers = [answer(tokens=(10 * n, n), model="gpt-4o-2024-08-06") for n in range(1, 9)]
    return kind(answers=answers, **options)


def hits(recorder: MemoryRecorder) -> float:
    return recorder.value("llm_cache_hits_total")


def misses(recorder: MemoryRecorder) -> float:
    return recorder.value("llm_cache_misses_total")


def billed(recorder: MemoryRecorder) -> float:
    return recorder.value("llm_tokens_total", token_type="output")


async def _read(stream: Any) -> None:
    async for _ in stream:
        pass


def _chain(model: Chat) -> Any:
    async def ask(x: str, config: Any) -> Any:
        return await model.ainvoke(x, config)

    return RunnableLambda(ask)


Ask = Callable[[Chat, str, Any], Any]
ASKING: dict[str, Ask] = {
    "invoke": lambda model, x, config: model.invoke(x, config),
    "ainvoke": lambda model, x, config: asyncio.run(model.ainvoke(x, config)),
    "batch": lambda model, x, config: model.batch([x], config),
    "abatch": lambda model, x, config: asyncio.run(model.abatch([x], config)),
    "generate": lambda model, x, config: model.generate([[HumanMessage(x)]], **config),
    "agenerate": lambda model, x, config: asyncio.run(
        model.agenerate([[HumanMessage(x)]], **config)
    ),
    "streaming inside invoke": lambda model, x, config: model.invoke(x, config, stream=True),
    "events of a chain": lambda model, x, config: asyncio.run(
        _read(_chain(model).astream_events(x, config, version="v2"))
    ),
}
PAST: dict[str, Ask] = {
    "stream": lambda model, x, config: list(model.stream(x, config)),
    "astream": lambda model, x, config: asyncio.run(_read(model.astream(x, config))),
    "astream_events": lambda model, x, config: asyncio.run(
        _read(model.astream_events(x, config, version="v2"))
    ),
}
if hasattr(Chat, "stream_events"):  # langchain-core 1.4 and later
    PAST["stream_events v3"] = lambda model, x, config: (
        model.stream_events(x, config, version="v3").output
    )
CACHES: dict[str, Callable[[], BaseCache]] = {
    "in memory": InMemoryCache,
    "as text": TextCache,
    "without messages": OldCache,
    "in memory, instrumented": lambda: InstrumentedCache(InMemoryCache()),
    "as text, instrumented": lambda: InstrumentedCache(TextCache()),
    "without messages, instrumented": lambda: InstrumentedCache(OldCache()),
}


@pytest.fixture(params=ASKING)
def ask(request):
    return ASKING[request.param]


@pytest.fixture(params=CACHES)
def cache(request):
    cache = CACHES[request.param]()
    set_llm_cache(cache)
    return cache


class TestAGlobalCache:
    def test_a_global_cache_is_first_missed_then_hit_on_every_path(
        self, recorder, config, cache, ask
    ):
        model = chat(StreamingChat)
        for x in ("a", "a", "b", "a"):
            ask(model, x, config)
        assert (misses(recorder), hits(recorder)) == (2, 2)
        labels = {"agent_name": "tester", "model": "gpt-4o"}
        assert recorder.value("llm_cache_misses_total", **labels) == 2
        assert recorder.value("llm_calls_total", status="success") == 2
        assert billed(recorder) == 1 + 2

    def test_a_hit_is_no_call_and_bills_nothing(self, recorder, config, cache):
        model = chat()
        model.invoke("a", config)
        before = recorder.snapshot()
        model.invoke("a", config)
        after = recorder.snapshot()
        changed = {name for name in after if after[name] != before.get(name)}
        assert changed <= {
            "llm_cache_hits_total",
            "cache_hits_total",  # of a cache that tells of itself, as the next one
            "cache_hit_ratio",
            "llm_memory_available_bytes",  # which is the machine's
            "llm_memory_available_mb",
        }
        assert hits(recorder) == 1

    def test_a_hit_is_told_as_one_to_who_hears_of_calls(self, recorder, config, cache):
        heard: list[LLMCall] = []
        pipeline_of(recorder).subscribe(heard.append)
        model = chat()
        model.invoke("a", config)
        model.invoke("a", config)
        assert [(call.cached, call.cost_usd) for call in heard] == [
            (False, pytest.approx(35e-6)),
            (True, None),
        ]

    def test_a_hit_is_no_call_of_the_run_either(self, recorder, cache):
        class Writer(InstrumentedAgent):
            def run(self, model: Chat) -> None:
                for _ in range(3):
                    model.invoke("a")

        Writer().run(chat())
        assert recorder.histogram("agent_run_llm_calls", agent_name="Writer").sum == 1
        assert recorder.histogram("agent_run_tokens").sum == 11
        assert (misses(recorder), hits(recorder)) == (1, 2)

    def test_an_answer_without_usage_is_hit_as_well(self, recorder, config, cache, ask):
        model = StreamingChat(answers=[answer(tokens=None)])
        ask(model, "a", config)
        ask(model, "a", config)
        assert (misses(recorder), hits(recorder)) == (1, 1)
        assert recorder.value("llm_calls_total") == 1

    @pytest.mark.parametrize("past", PAST)
    def test_what_streams_past_a_global_cache_is_neither_hit_nor_missed(
        self, recorder, config, cache, past
    ):
        model = chat(StreamingChat)
        for _ in range(3):
            PAST[past](model, "a", config)
        assert (misses(recorder), hits(recorder)) == (0, 0)
        assert recorder.value("llm_calls_total", status="success") == 3

    def test_many_prompts_at_once_are_told_apart(self, recorder, config, cache):
        model = chat()
        model.invoke("b", config)
        model.generate([[HumanMessage(x)] for x in "abc"], **config)
        assert (misses(recorder), hits(recorder)) == (3, 1)
        assert billed(recorder) == 1 + 2 + 3

    def test_several_choices_are_one_answer(self, recorder, config, cache):
        class TwoChoices(Chat):
            def _generate(self, *args: Any, **kwargs: Any) -> Any:
                result = super()._generate(*args, **kwargs)
                twin = result.generations[0].message.model_copy()
                result.generations.append(ChatGeneration(message=twin))
                return result

        model = chat(TwoChoices)
        model.invoke("a", config)
        model.invoke("a", config)
        assert (misses(recorder), hits(recorder), billed(recorder)) == (1, 1, 1)

    def test_an_answer_of_an_earlier_process_is_hit(self, recorder, config):
        shelf: dict[Any, Any] = {}
        set_llm_cache(TextCache(shelf))
        chat().invoke("a")  # there, nobody listened
        set_llm_cache(TextCache(shelf))
        chat().invoke("a", config)
        assert (misses(recorder), hits(recorder)) == (0, 1)
        assert recorder.value("llm_calls_total") == 0


class TestAnAnswerThatIsFoundBeforeItsOwnEndIsTold:
    """LangChain marks the one object that the cache and the first call share."""

    def test_an_answer_found_before_its_own_end_is_told_bills_the_first_of_equal_prompts(
        self, recorder, config, cache
    ):
        chat().generate([[HumanMessage(x)] for x in "aab"], **config)
        assert (misses(recorder), hits(recorder)) == (2, 1)
        assert billed(recorder) == 1 + 2

    def test_an_answer_found_before_its_own_end_is_told_bills_the_first_of_equal_calls_at_once(
        self, recorder, config, cache
    ):
        model = chat()

        async def at_once() -> None:
            await asyncio.gather(*(model.ainvoke("a", config) for _ in range(4)))

        asyncio.run(at_once())
        assert misses(recorder) + hits(recorder) == 4
        assert misses(recorder) == recorder.value("llm_calls_total") >= 1
        assert billed(recorder) == sum(range(1, int(misses(recorder)) + 1))


class TestAModelsOwnCache:
    def test_a_models_own_cache_of_another_class_shows_its_hits(self, recorder, config, ask):
        model = chat(StreamingChat, cache=InMemoryCache())
        ask(model, "a", config)
        ask(model, "a", config)
        assert (misses(recorder), hits(recorder)) == (0, 1)  # no event tells of its miss

    def test_a_models_own_cache_that_is_instrumented_shows_both(self, recorder, config, ask):
        model = chat(StreamingChat, cache=InstrumentedCache(InMemoryCache()))
        for x in ("a", "a", "b"):
            ask(model, x, config)
        assert (misses(recorder), hits(recorder)) == (2, 1)

    def test_a_models_own_cache_leaves_models_without_one_alone(self, recorder, config, ask):
        cached = chat(StreamingChat, cache=InstrumentedCache(InMemoryCache()))
        ask(cached, "a", config)
        ask(chat(StreamingChat), "a", config)
        assert (misses(recorder), hits(recorder)) == (1, 0)

    def test_a_models_own_cache_stands_before_a_global_one(self, recorder, config):
        set_llm_cache(InMemoryCache())
        model = chat(cache=InstrumentedCache(InMemoryCache()))
        model.invoke("a", config)
        model.invoke("a", config)
        assert (misses(recorder), hits(recorder)) == (1, 1)

    def test_a_models_own_cache_and_a_global_one_of_another_class_both_show(self, recorder, config):
        set_llm_cache(InMemoryCache())
        own, model = chat(cache=InstrumentedCache(InMemoryCache())), chat()
        own.invoke("a", config)
        model.invoke("b", config)
        model.invoke("b", config)
        own.invoke("a", config)
        assert (misses(recorder), hits(recorder)) == (2, 2)

    def test_a_models_own_cache_that_is_instrumented_shows_hits_without_a_mark(
        self, recorder, config, ask
    ):
        model = chat(StreamingChat, cache=InstrumentedCache(OldCache()))
        ask(model, "a", config)
        ask(model, "a", config)
        assert (misses(recorder), hits(recorder)) == (1, 1)
        assert recorder.value("llm_calls_total") == 1


class TestNoCache:
    def test_no_cache_in_use_is_neither_hit_nor_missed(self, recorder, config, ask):
        ask(chat(StreamingChat), "a", config)
        assert (misses(recorder), hits(recorder)) == (0, 0)

    def test_no_cache_in_use_is_not_asked_for_answers_without_usage(self, recorder, config):
        elsewhere = InstrumentedCache(InMemoryCache())
        Chat(answers=[answer(tokens=None)]).invoke("a", config)
        assert recorder.value("llm_calls_total") == 1
        assert (misses(recorder), hits(recorder)) == (0, 0)
        del elsewhere

    def test_a_model_without_a_cache_is_known_where_the_global_one_is_instrumented(
        self, recorder, config, ask
    ):
        set_llm_cache(InstrumentedCache(InMemoryCache()))
        model = chat(StreamingChat, cache=False)
        ask(model, "a", config)
        ask(model, "a", config)
        assert (misses(recorder), hits(recorder)) == (0, 0)
        assert recorder.value("llm_calls_total") == 2


class TestCallsThatFail:
    def fails(self, **options: Any) -> Chat:
        return Chat(answers=[TimeoutError()], **options)

    def test_calls_that_fail_have_missed_an_instrumented_cache(self, recorder, config, ask):
        set_llm_cache(InstrumentedCache(InMemoryCache()))
        with pytest.raises(TimeoutError):
            ask(self.fails(), "a", config)
        assert by(recorder, "llm_cache_misses_total", "agent_name", "model") == {
            ("tester", "gpt-4o"): 1
        }

    def test_calls_that_fail_count_only_as_far_as_they_got(self, recorder, config):
        set_llm_cache(InstrumentedCache(InMemoryCache()))
        with pytest.raises(TimeoutError):
            self.fails().generate([[HumanMessage(x)] for x in "abc"], **config)
        gc.collect()
        assert misses(recorder) == 1  # LangChain never came to the others
        assert by(recorder, "llm_calls_total", "status") == {"error": 1, "cancelled": 2}

    def test_calls_that_fail_are_not_known_of_another_cache(self, recorder, config):
        set_llm_cache(InMemoryCache())
        with pytest.raises(TimeoutError):
            self.fails().invoke("a", config)
        assert misses(recorder) == 0

    def test_calls_that_fail_have_missed_nothing_where_they_streamed(self, recorder, config):
        set_llm_cache(InstrumentedCache(InMemoryCache()))
        model = StreamingChat(answers=[TimeoutError()])
        with pytest.raises(TimeoutError):
            list(model.stream("a", config))
        assert misses(recorder) == 0

    def test_calls_that_fail_that_were_cancelled_have_missed_an_instrumented_cache(
        self, recorder, config
    ):
        set_llm_cache(InstrumentedCache(InMemoryCache()))

        class Hangs(Chat):
            async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
                await asyncio.sleep(60)

        async def give_up() -> None:
            task = asyncio.ensure_future(Hangs().ainvoke("a", config))
            while not recorder.value("cache_misses_total"):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(give_up())
        gc.collect()
        assert by(recorder, "llm_calls_total", "status") == {"cancelled": 1}
        assert misses(recorder) == 1


class TestTextModels:
    def text(self, **options: Any) -> Text:
        return Text(output={"token_usage": {"prompt_tokens": 3, "completion_tokens": 4}}, **options)

    def test_text_models_miss_with_a_call_and_hit_without(self, recorder, config, cache):
        model = self.text()
        for x in ("a", "a", "b"):
            model.invoke(x, config)
        assert misses(recorder) == recorder.value("llm_calls_total") == 2
        assert hits(recorder) == 0  # LangChain sends nothing at all
        assert recorder.value("llm_tokens_total") == 14

    def test_hits_of_text_models_are_known_to_an_instrumented_cache(self, recorder, config):
        set_llm_cache(InstrumentedCache(InMemoryCache()))
        model = self.text()
        model.generate(["a", "b", "a"], **config)
        model.generate(["a", "c"], **config)
        assert recorder.value("cache_hits_total", cache_type="llm") == 1
        assert recorder.value("cache_misses_total", cache_type="llm") == 4
        assert misses(recorder) == recorder.value("llm_calls_total") == 4

    def test_text_models_without_a_cache_miss_nothing(self, recorder, config):
        self.text().invoke("a", config)
        assert misses(recorder) == 0


class TestABatchThatIsRefused:
    def test_a_batch_that_is_refused_half_way_leaves_its_look_ups_to_no_other_call(
        self, recorder, config
    ):
        set_llm_cache(InstrumentedCache(InMemoryCache()))
        asked = []

        def every_second(call, bound):
            asked.append(call)
            if len(asked) == 2:
                raise BudgetExceeded("b", "daily", {}, 1.0, 1.0, None)
            return lambda ended: None

        pipeline_of(recorder).guard(every_second)
        with pytest.raises(BudgetExceeded):
            chat().generate([[HumanMessage("a")], [HumanMessage("b")]], **config)
        for question in "cde":
            chat().invoke(question, config)
        assert misses(recorder) == 3
        set_llm_cache(None)
        gc.collect()  # the refusal's traceback holds the cache


class TestTwoHandlers:
    def test_two_handlers_on_two_recorders_see_the_same(self, recorder, config):
        other = MemoryRecorder()
        set_llm_cache(InstrumentedCache(InMemoryCache()))
        both: Any = {"callbacks": [MetricsCallbackHandler(), MetricsCallbackHandler(other)]}
        model = chat()
        model.generate([[HumanMessage(x)] for x in "abc"], **both)
        model.generate([[HumanMessage(x)] for x in "ad"], **both)
        assert misses(recorder) == misses(other) == 4
        assert hits(recorder) == hits(other) == 1


class TestLayeredCaches:
    @pytest.mark.parametrize("everywhere", [True, False], ids=["global", "of the model"])
    def test_layered_caches_bill_what_neither_had_and_nothing_else(
        self, recorder, config, everywhere
    ):
        first, second = InstrumentedCache(NoCache(), "near"), InstrumentedCache(TextCache(), "far")

        class Layered(BaseCache):
            def lookup(self, prompt: str, llm_string: str) -> Any:
                return first.lookup(prompt, llm_string) or second.lookup(prompt, llm_string)

            def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
                second.update(prompt, llm_string, return_val)

            def clear(self, **kwargs: Any) -> None:
                second.clear(**kwargs)

        set_llm_cache(Layered() if everywhere else None)
        model = chat(cache=None if everywhere else Layered())
        for x in ("a", "a", "b"):
            model.invoke(x, config)
        model.generate([[HumanMessage(x)] for x in "acb"], **config)
        assert (misses(recorder), hits(recorder)) == (3, 3)
        assert billed(recorder) == 1 + 2 + 3


class TestResultsByHand:
    def test_results_by_hand_without_generations_are_calls(self, recorder, config):
        set_llm_cache(InMemoryCache())

        class Empty(Chat):
            def _generate(self, *args: Any, **kwargs: Any) -> Any:
                result = super()._generate(*args, **kwargs)
                result.generations.clear()
                return result

        model = Empty(answers=[answer()])
        model.generate([[HumanMessage("a")]], **config)
        assert recorder.value("llm_calls_total") == 1

    def test_results_by_hand_of_a_model_with_messages_of_its_own_are_read_as_far_as_they_go(
        self, recorder
    ):
        set_llm_cache(InMemoryCache())
        handler, run_id = MetricsCallbackHandler(), uuid.uuid4()
        handler.on_chat_model_start({}, [[]], run_id=run_id)
        message = AIMessage("x", id="mine")
        handler.on_llm_end(
            LLMResult(generations=[[ChatGeneration(message=message)]], llm_output=None),
            run_id=run_id,
        )
        assert recorder.value("llm_calls_total") == 1
        assert misses(recorder) == 1
