"""InstrumentedCache around LangChain's caches, and CacheTracker for a cache of one's own."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import math
import pickle
import sys
import threading
from typing import Any

import pytest
from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.outputs import Generation

from agentmetrics import (
    CacheTracker,
    InstrumentedCache,
    MemoryRecorder,
    MetricsCallbackHandler,
    configure,
)
from agentmetrics.sources.langchain.callbacks import lookups
from tests.unit.scripted import Chat, by, errors

pytestmark = pytest.mark.usefixtures("caches_let_go")

ANSWER = [Generation(text="answer")]


class Elsewhere(BaseCache):
    """A cache that notes what it was asked to do, and how; it never suspends."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.error: Exception | None = None
        self.answer: Any = None

    def _do(self, *what: Any) -> Any:
        self.done.append(what)
        if self.error is not None:
            raise self.error
        return self.answer

    def lookup(self, prompt: str, llm_string: str) -> Any:
        return self._do("lookup", prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self._do("update", prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        self._do("clear", kwargs)

    async def alookup(self, prompt: str, llm_string: str) -> Any:
        return self._do("alookup", prompt, llm_string)

    async def aupdate(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self._do("aupdate", prompt, llm_string, return_val)

    async def aclear(self, **kwargs: Any) -> None:
        self._do("aclear", kwargs)


@pytest.fixture
def switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def look_ups(recorder: MemoryRecorder, cache_type: str = "llm") -> tuple[float, float]:
    return (
        recorder.value("cache_hits_total", cache_type=cache_type),
        recorder.value("cache_misses_total", cache_type=cache_type),
    )


class TestLookUps:
    def test_look_ups_are_hits_and_misses(self, recorder):
        cache = InstrumentedCache(InMemoryCache())
        assert cache.lookup("a", "model") is None
        cache.update("a", "model", ANSWER)
        assert cache.lookup("a", "model") == ANSWER
        assert cache.lookup("a", "another model") is None
        assert look_ups(recorder) == (1, 2)

    def test_look_ups_count_the_same_on_an_event_loop(self, recorder):
        async def ask() -> None:
            cache = InstrumentedCache(InMemoryCache())
            assert await cache.alookup("a", "model") is None
            await cache.aupdate("a", "model", ANSWER)
            assert await cache.alookup("a", "model") == ANSWER

        asyncio.run(ask())
        assert look_ups(recorder) == (1, 1)

    def test_look_ups_give_the_share_of_hits_once_there_were_any(self, recorder):
        cache = InstrumentedCache(InMemoryCache())
        assert by(recorder, "cache_hit_ratio", "cache_type") == {}
        cache.update("a", "model", ANSWER)
        for prompt in "aaab":
            cache.lookup(prompt, "model")
        assert recorder.value("cache_hit_ratio", cache_type="llm") == 0.75

    def test_look_ups_of_two_caches_of_one_type_add_up(self, recorder):
        caches = [InstrumentedCache(InMemoryCache()) for _ in range(2)]
        for cache in caches:
            cache.update("a", "model", ANSWER)
            cache.lookup("a", "model")
        caches[0].update("b", "model", ANSWER)
        caches[0].lookup("c", "model")
        assert look_ups(recorder) == (2, 1)
        assert recorder.value("cache_entries", cache_type="llm") == 3
        assert recorder.value("cache_hit_ratio", cache_type="llm") == pytest.approx(2 / 3)

    def test_look_ups_of_two_types_stand_apart(self, recorder):
        near, far = (
            InstrumentedCache(InMemoryCache(), "near"),
            InstrumentedCache(Elsewhere(), "far"),
        )
        near.update("a", "model", ANSWER)
        near.lookup("a", "model")
        far.lookup("a", "model")
        assert look_ups(recorder, "near") == (1, 0)
        assert look_ups(recorder, "far") == (0, 1)

    def test_look_ups_take_for_an_answer_what_langchain_takes_for_one(self, recorder):
        inner = Elsewhere()
        inner.answer = tuple(ANSWER)
        assert InstrumentedCache(inner).lookup("a", "model") == tuple(ANSWER)
        assert look_ups(recorder) == (0, 1)


class TestPuts:
    def test_puts_are_answers_that_were_stored(self, recorder):
        cache = InstrumentedCache(InMemoryCache(maxsize=1), "llm", recorder)
        for prompt in ("a", "b", "b"):
            cache.update(prompt, "model", [Generation(text="x")])
        asyncio.run(cache.aupdate("c", "model", [Generation(text="x")]))
        assert recorder.value("cache_puts_total", cache_type="llm") == 4

    def test_puts_of_a_cache_of_ones_own_are_told(self, recorder):
        tracker = CacheTracker("prompt", recorder=recorder)
        tracker.put()
        tracker.put(3)
        tracker.put(-1)
        assert recorder.value("cache_puts_total", cache_type="prompt") == 4
        assert recorder.value("agentmetrics_handler_errors_total", event="cache_put") == 1


class TestWhatItHolds:
    def test_what_a_cache_in_memory_holds_is_known(self, recorder):
        cache = InstrumentedCache(InMemoryCache())
        for prompt in "abca":
            cache.update(prompt, "model", ANSWER)
        assert recorder.value("cache_entries", cache_type="llm") == 3
        cache.clear()
        assert recorder.value("cache_entries", cache_type="llm") == 0
        assert recorder.value("cache_evictions_total") == 0

    def test_what_had_to_go_is_known_of_a_cache_in_memory(self, recorder):
        cache = InstrumentedCache(InMemoryCache(maxsize=3))
        for number in range(10):
            cache.update(str(number), "model", ANSWER)
        assert recorder.value("cache_entries") == 3
        assert recorder.value("cache_evictions_total", cache_type="llm") == 7

    def test_an_update_of_what_a_full_cache_holds_lets_the_oldest_go(self, recorder):
        # langchain-core makes room before it looks whether the prompt is there already.
        inner = InMemoryCache(maxsize=2)
        cache = InstrumentedCache(inner)
        for prompt in "abb":
            cache.update(prompt, "model", ANSWER)
        assert inner.lookup("a", "model") is None
        assert recorder.value("cache_evictions_total") == 1
        assert recorder.value("cache_entries") == 1

    def test_what_was_cleared_while_the_cache_was_updated_had_not_to_go(
        self, recorder, monkeypatch
    ):
        inner = InMemoryCache()
        cache = InstrumentedCache(inner)
        cache.update("a", "model", ANSWER)
        monkeypatch.setattr(inner, "update", lambda *_: inner.clear())
        cache.update("b", "model", ANSWER)
        assert recorder.value("cache_evictions_total") == 0

    def test_what_had_to_go_is_exact_with_many_threads(self, recorder, switching_often):
        cache = InstrumentedCache(InMemoryCache(maxsize=8))

        def fill(name: int) -> None:
            for number in range(200):
                cache.update(f"{name}-{number}", "model", ANSWER)

        threads = [threading.Thread(target=fill, args=(name,)) for name in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert recorder.value("cache_evictions_total") == 8 * 200 - 8

    def test_what_another_cache_holds_is_unknown(self, recorder):
        cache = InstrumentedCache(Elsewhere())
        cache.update("a", "model", ANSWER)
        names = {sample.name for sample in recorder.samples()}
        assert not names & {"cache_entries", "cache_size_bytes"}
        assert recorder.value("cache_evictions_total") == 0

    def test_what_another_cache_holds_is_read_where_it_can_be(self, recorder):
        inner = Elsewhere()
        gone = [0]
        cache = InstrumentedCache(
            inner,
            "disk",
            entries=lambda: len(inner.done),
            size_bytes=lambda: 100 * len(inner.done),
            evictions=lambda: gone[0],
        )
        cache.update("a", "model", ANSWER)
        gone[0] = 3
        cache.update("b", "model", ANSWER)
        assert recorder.value("cache_entries", cache_type="disk") == 2
        assert recorder.value("cache_size_bytes", cache_type="disk") == 200
        assert recorder.value("cache_evictions_total", cache_type="disk") == 3
        gone[0] = 1  # it was started anew
        cache.update("c", "model", ANSWER)
        gone[0] = 2
        asyncio.run(cache.aupdate("d", "model", ANSWER))
        assert recorder.value("cache_evictions_total", cache_type="disk") == 4
        assert errors(recorder) == {}

    def test_what_cannot_be_read_of_a_cache_raises_nothing_and_is_left_out(self, recorder):
        def broken() -> float:
            raise OSError

        readable = InstrumentedCache(Elsewhere(), entries=lambda: 5)
        cache = InstrumentedCache(Elsewhere(), entries=broken, size_bytes=broken)
        assert recorder.value("cache_entries", cache_type="llm") == 5
        assert errors(recorder)["cache_entries"] >= 1
        assert errors(recorder)["cache_size_bytes"] >= 1
        del readable, cache

    def test_what_cannot_be_read_of_a_cache_after_an_update_raises_nothing(self, recorder):
        readings = iter([0])
        cache = InstrumentedCache(Elsewhere(), evictions=lambda: next(readings))
        cache.update("a", "model", ANSWER)
        assert errors(recorder) == {"cache_evictions": 1}

    def test_what_a_cache_holds_counts_for_as_long_as_the_cache_lives(self, recorder):
        cache = InstrumentedCache(InMemoryCache())
        cache.update("a", "model", ANSWER)
        assert recorder.value("cache_entries") == 1
        del cache
        gc.collect()
        assert recorder.value("cache_entries") == 0
        assert lookups.instrumented == set()  # and no handler looks for one any more


class TestTheCacheInside:
    def test_the_cache_inside_is_asked_for_everything_in_the_same_way(self, recorder):
        inner = Elsewhere()
        cache = InstrumentedCache(inner)
        cache.lookup("a", "model")
        cache.update("a", "model", ANSWER)
        cache.clear(llm_string="model")
        asyncio.run(cache.alookup("a", "model"))
        asyncio.run(cache.aupdate("a", "model", ANSWER))
        asyncio.run(cache.aclear(llm_string="model"))
        assert inner.done == [
            ("lookup", "a", "model"),
            ("update", "a", "model", ANSWER),
            ("clear", {"llm_string": "model"}),
            ("alookup", "a", "model"),
            ("aupdate", "a", "model", ANSWER),
            ("aclear", {"llm_string": "model"}),
        ]

    def test_the_cache_inside_may_have_only_the_synchronous_methods(self, recorder):
        class Plain(BaseCache):
            lookup, update, clear = Elsewhere.lookup, Elsewhere.update, Elsewhere.clear
            __init__, _do = Elsewhere.__init__, Elsewhere._do

        inner = Plain()
        asyncio.run(InstrumentedCache(inner).alookup("a", "model"))
        assert inner.done == [("lookup", "a", "model")]
        assert look_ups(recorder) == (0, 1)

    def test_the_cache_inside_raises_as_it_would_alone(self, recorder):
        inner = Elsewhere()
        inner.error = error = ConnectionResetError()
        cache = InstrumentedCache(inner)
        for failing in (
            lambda: cache.lookup("a", "model"),
            lambda: cache.update("a", "model", ANSWER),
            lambda: cache.clear(),
            lambda: asyncio.run(cache.alookup("a", "model")),
            lambda: asyncio.run(cache.aupdate("a", "model", ANSWER)),
            lambda: asyncio.run(cache.aclear()),
        ):
            with pytest.raises(ConnectionResetError) as raised:
                failing()
            assert raised.value is error
        assert look_ups(recorder) == (0, 0)
        assert errors(recorder) == {}

    def test_the_cache_inside_that_raises_makes_no_miss_of_a_call(self, recorder):
        inner = Elsewhere()
        inner.error = ConnectionResetError()
        with pytest.raises(ConnectionResetError):
            Chat(cache=InstrumentedCache(inner)).invoke(
                "a", {"callbacks": [MetricsCallbackHandler()]}
            )
        assert recorder.value("llm_calls_total", status="error") == 1
        assert recorder.value("llm_cache_misses_total") == 0

    def test_an_instrumented_cache_is_no_less_a_cache_to_a_model(self, recorder):
        cache = InstrumentedCache(InMemoryCache())
        model = Chat(cache=cache)
        assert isinstance(cache, BaseCache)
        assert model.invoke("a").text == model.invoke("a").text
        assert look_ups(recorder) == (1, 1)


class TestCopies:
    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
    def test_copies_hold_what_was_held_and_are_counted(self, recorder, copied):
        cache = InstrumentedCache(InMemoryCache(maxsize=5), "prompts")
        cache.update("a", "model", ANSWER)
        again = copied(cache)
        assert again.lookup("a", "model") == ANSWER
        again.update("b", "model", ANSWER)
        assert cache.lookup("b", "model") is None
        assert recorder.value("cache_entries", cache_type="prompts") == 1 + 2
        assert look_ups(recorder, "prompts") == (1, 1)

    def test_copies_record_in_the_same_place(self, recorder):
        own = MemoryRecorder()
        model = Chat(cache=InstrumentedCache(InMemoryCache(), recorder=own))
        copy.deepcopy(model).invoke("a")
        assert look_ups(own) == (0, 1)
        assert look_ups(recorder) == (0, 0)

    def test_copies_that_are_shallow_ask_the_same_cache_and_record_in_the_same_place(
        self, recorder
    ):
        own = MemoryRecorder()
        cache = InstrumentedCache(InMemoryCache(), recorder=own)
        cache.update("a", "model", ANSWER)
        assert copy.copy(cache).lookup("a", "model") == ANSWER
        assert look_ups(own) == (1, 0)
        assert look_ups(recorder) == (0, 0)

    @pytest.mark.parametrize("copied", [copy.deepcopy, lambda c: pickle.loads(pickle.dumps(c))])
    def test_copies_of_a_tracker_count_with_it(self, recorder, copied):
        tracker = CacheTracker("prompt")
        copied(tracker).hit()
        tracker.miss()
        assert look_ups(recorder, "prompt") == (1, 1)


class TestATracker:
    def test_a_tracker_tells_of_a_cache_of_ones_own(self, recorder):
        prompts = {"a": "b", "c": "d"}
        cache = CacheTracker("prompt", entries=lambda: len(prompts), size_bytes=lambda: 1234)
        cache.hit()
        cache.hit()
        cache.miss()
        cache.evicted()
        cache.evicted(4)
        assert look_ups(recorder, "prompt") == (2, 1)
        assert recorder.value("cache_evictions_total", cache_type="prompt") == 5
        assert recorder.value("cache_entries", cache_type="prompt") == 2
        assert recorder.value("cache_size_bytes", cache_type="prompt") == 1234
        assert recorder.value("cache_hit_ratio", cache_type="prompt") == pytest.approx(2 / 3)

    def test_a_tracker_shows_zeros_from_the_start(self, recorder):
        cache = CacheTracker("prompt")
        shown = {s.name: s.value for s in recorder.samples() if "cache_type" in s.labels}
        assert shown == dict.fromkeys(
            [f"cache_{what}_total" for what in ("hits", "misses", "evictions", "puts")], 0
        )
        del cache

    @pytest.mark.parametrize("count", [-1, math.nan, None, "many"])
    def test_a_tracker_does_not_count_what_cannot_be(self, recorder, count):
        CacheTracker("prompt").evicted(count)
        assert recorder.value("cache_evictions_total") == 0
        assert errors(recorder) == {"cache_evicted": 1}

    def test_a_tracker_follows_the_configured_recorder(self, recorder):
        cache = CacheTracker("prompt", entries=lambda: 7)
        cache.hit()
        configure(other := MemoryRecorder())
        cache.hit()
        assert look_ups(recorder, "prompt") == look_ups(other, "prompt") == (1, 0)
        assert other.value("cache_entries") == 7

    def test_a_tracker_has_a_clean_type(self, recorder):
        cache = CacheTracker("pro\nmpt")
        assert cache.cache_type == "pro_mpt"

    @pytest.mark.parametrize(("method", "event"), [("hit", "cache_hit"), ("miss", "cache_miss")])
    def test_a_tracker_that_a_backend_refuses_raises_nothing(
        self, recorder, monkeypatch, method, event
    ):
        cache = CacheTracker("prompt")

        def broken() -> None:
            raise OSError

        monkeypatch.setattr(cache, "_now", broken)
        getattr(cache, method)()
        assert errors(recorder) == {event: 1}

    def test_a_tracker_logs_each_kind_of_failure_once_and_without_its_text(self, recorder, caplog):
        def broken() -> float:
            raise OSError("a secret path")

        cache = CacheTracker("prompt", entries=broken)
        with caplog.at_level(logging.WARNING, "agentmetrics"):
            for _ in range(3):
                recorder.samples()
                list(recorder.samples())
        assert [record.message for record in caplog.records] == [
            "could not fully record cache_entries: OSError"
        ]
        del cache
