"""Extra labels on caches: of each lookup, and of what a cache holds."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.runnables import RunnableConfig, RunnableLambda

from agentmetrics import (
    CacheTracker,
    InstrumentedCache,
    MemoryRecorder,
    MetricsCallbackHandler,
    configure,
    labels,
    track_call,
    track_run,
)
from agentmetrics.pipeline import Options, pipeline_of
from tests.unit.scripted import Chat, answer, by

pytestmark = pytest.mark.usefixtures("agent_metrics")


@pytest.fixture
def recorder() -> MemoryRecorder:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant", "intent")))
    return recorder


def of_tenants(recorder: MemoryRecorder, name: str) -> dict[tuple[str, ...], float]:
    found = by(recorder, name, "cache_type", "tenant", "intent")
    return {labels: value for labels, value in found.items() if value}


def test_lookups_puts_and_evictions_have_the_labels_around(recorder):
    cache = CacheTracker("prompt", recorder=recorder)
    with labels(tenant="acme", intent="chat"):
        cache.hit()
        cache.miss()
        cache.put(2)
    with labels(tenant="globex"), track_run("reviewer", recorder=recorder):
        pass
    with labels(tenant="globex"):
        cache.hit()
        cache.evicted(3)
    acme, globex = ("prompt", "acme", "chat"), ("prompt", "globex", "")
    assert of_tenants(recorder, "cache_hits_total") == {acme: 1, globex: 1}
    assert of_tenants(recorder, "cache_misses_total") == {acme: 1}
    assert of_tenants(recorder, "cache_puts_total") == {acme: 2}
    assert of_tenants(recorder, "cache_evictions_total") == {globex: 3}
    assert recorder.value("cache_hit_ratio", cache_type="prompt") == pytest.approx(2 / 3)


def test_a_run_around_tells_its_labels_too(recorder):
    cache = CacheTracker("prompt", recorder=recorder)
    run = track_run("reviewer", recorder=recorder)
    with labels(tenant="acme"):
        run.__enter__()
    cache.hit()
    run.__exit__(None, None, None)
    assert of_tenants(recorder, "cache_hits_total") == {("prompt", "acme", ""): 1}


def test_labels_of_the_cache_itself_are_on_all_that_it_does_and_holds(recorder):
    held = {tenant: CacheTracker("answers", labels={"tenant": tenant}, entries=lambda: 2,
                                 size_bytes=lambda: 30, recorder=recorder)
            for tenant in ("acme", "globex")}  # fmt: skip
    nameless = CacheTracker("answers", entries=lambda: 5, recorder=recorder)
    with labels(tenant="other", intent="chat"):
        held["acme"].hit()
    assert of_tenants(recorder, "cache_hits_total") == {("answers", "acme", "chat"): 1}
    assert of_tenants(recorder, "cache_entries") == {
        ("answers", "acme", ""): 2,
        ("answers", "globex", ""): 2,
        ("answers", "", ""): 5,
    }
    assert recorder.value("cache_size_bytes", tenant="acme") == 30
    assert nameless.entries() == 5


def test_what_is_no_extra_label_is_left_alone():
    recorder = MemoryRecorder()
    CacheTracker("prompt", labels={"tenant": "acme"}, recorder=recorder).hit()
    assert recorder.value("cache_hits_total", cache_type="prompt") == 1
    assert recorder.value("agentmetrics_handler_errors_total") == 0


def test_a_tracker_follows_when_other_labels_are_configured():
    first = configure(backend="memory")
    cache = CacheTracker("prompt", labels={"tenant": "acme"}, entries=lambda: 7)
    second = configure(backend="memory", extra_labels="tenant")
    cache.hit()
    assert second.value("cache_hits_total", tenant="acme") == 1
    assert second.value("cache_entries", tenant="acme") == 7
    assert first.value("cache_entries", cache_type="prompt") == 7


def test_copies_have_the_labels_of_the_original(recorder):
    tracker = CacheTracker("prompt", labels={"tenant": "acme"}, recorder=recorder)
    assert pickle.loads(pickle.dumps(tracker)).labels == {"tenant": "acme"}
    cache = InstrumentedCache(InMemoryCache(), labels={"tenant": "acme"}, recorder=recorder)
    for same in (copy.copy(cache), copy.deepcopy(cache)):
        same.lookup("question", "model")
    assert of_tenants(recorder, "cache_misses_total") == {("llm", "acme", ""): 2}
    again = pickle.loads(pickle.dumps(InstrumentedCache(Pickled(), labels={"tenant": "acme"})))
    assert again._tracker.labels == {"tenant": "acme"}


class Pickled(InMemoryCache):
    """LangChain's cache in memory, which another process can have."""


def test_langchains_llm_cache_counts_by_the_labels_of_the_call(recorder):
    cache = InstrumentedCache(InMemoryCache(), recorder=recorder)
    model = Chat(answers=[answer()], cache=cache)
    config: RunnableConfig = {
        "callbacks": [MetricsCallbackHandler(recorder)],
        "metadata": {"tenant": "acme"},
    }
    with labels(intent="chat"):
        model.invoke("question", config)
        model.invoke("question", config)
    for name in ("llm_cache_hits_total", "llm_cache_misses_total"):
        assert recorder.value(name, tenant="acme", intent="chat") == 1
        assert recorder.value(name) == 1


def test_in_a_chain_or_graph_lookups_have_the_labels_of_its_config(recorder):
    cache = InstrumentedCache(InMemoryCache(), recorder=recorder)
    model = Chat(answers=[answer()], cache=cache)
    chain: Any = RunnableLambda(lambda question: model.invoke(question))
    for _ in range(3):
        chain.invoke("question", {"metadata": {"tenant": "acme"}})
    of_acme = ("llm", "acme", "")
    assert of_tenants(recorder, "cache_hits_total") == {of_acme: 2}
    assert of_tenants(recorder, "cache_misses_total") == {of_acme: 1}
    assert of_tenants(recorder, "cache_puts_total") == {of_acme: 1}


def test_a_call_that_was_answered_from_a_cache_has_its_labels(recorder):
    with labels(tenant="acme"), track_call("openai", "gpt-4o", recorder=recorder) as call:
        call.record_cached()
    assert recorder.value("llm_cache_hits_total", tenant="acme") == 1
