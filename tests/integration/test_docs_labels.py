"""The page on labels: its examples run, and its numbers are those of recorded series."""

from __future__ import annotations

import re

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever

import agentmetrics
from agentmetrics import (
    CacheTracker,
    ConfigurationError,
    MemoryRecorder,
    MetricsCallbackHandler,
    catalog,
    configure,
    track_call,
    track_run,
    track_tool,
)
from agentmetrics.catalog import GROUPS
from agentmetrics.pipeline import Options, pipeline_of
from tests.integration.pages import blocks, page, rows, section

PAGE = page("labels.md")

pytestmark = pytest.mark.usefixtures("agent_metrics")


def test_the_examples_record_what_the_page_says() -> None:
    program: dict[str, object] = {"__name__": "examples"}
    exec(compile("\n".join(blocks(PAGE, "python")), "labels.md", "exec"), program)
    recorder = program["recorder"]
    assert isinstance(recorder, MemoryRecorder)
    shown = rows(section(PAGE, "Caches"), "series", "value")
    assert len(shown) == 4
    for series, value in shown:
        name, inside = re.fullmatch(r"`(\w+)\{(.*)\}`", series).groups()  # type: ignore[union-attr]
        labels = dict(re.findall(r'(\w+)="(\w*)"', inside))
        assert recorder.value(name, **labels) == float(value), series
    calls = "llm_calls_total"
    assert recorder.value(calls, agent_name="reviewer", tenant="acme", status="success") == 2
    assert recorder.value(calls, agent_name="unknown", tenant="", status="success") == 1
    assert recorder.value(calls, status="success") == 3


def test_the_refused_name_is_refused_in_these_words(monkeypatch: pytest.MonkeyPatch) -> None:
    (said,) = blocks(PAGE, "text")
    monkeypatch.setenv("AGENTMETRICS_EXTRA_LABELS", "status")
    with pytest.raises(ConfigurationError) as refused:
        configure()
    assert str(refused.value) == said.strip()
    (fine,) = re.findall(r"`(\w+)`, `(\w+)` and `(\w+)` are\s+allowed", PAGE)
    for name in fine:
        monkeypatch.setenv("AGENTMETRICS_EXTRA_LABELS", name)
        configure()


class Shelf(BaseRetriever):
    """A retriever that finds one document."""

    def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
        return [Document(query)]


def samples(recorder: MemoryRecorder, group: str, **labels: str) -> int:
    names = {metric.name for metric in GROUPS[group]}
    return sum(
        1
        for sample in recorder.samples()
        if (sample.name in names or re.sub("_(bucket|sum|count)$", "", sample.name) in names)
        and labels.items() <= sample.labels.items()
    )


def recorded(*, call_tokens: bool) -> MemoryRecorder:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(call_tokens=call_tokens))
    with track_run("reviewer", recorder=recorder):
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_usage(input_tokens=9, output_tokens=9)
        with track_tool("search", recorder=recorder):
            pass
    Shelf().invoke("query", {"callbacks": [MetricsCallbackHandler(recorder)]})
    return recorder


def test_the_numbers_of_samples_are_those_that_are_recorded() -> None:
    recorder, with_tokens = recorded(call_tokens=False), recorded(call_tokens=True)
    cache = CacheTracker("prompt", entries=lambda: 1, size_bytes=lambda: 9, recorder=recorder)
    found = {
        "calls": samples(recorder, "calls", model="gpt-4o"),
        "tokens": samples(recorder, "tokens", model="gpt-4o"),
        "cost": samples(recorder, "cost", model="gpt-4o"),
        "latency": samples(recorder, "latency", model="gpt-4o"),
        "agents": samples(recorder, "agents", agent_name="reviewer"),
        "tools": samples(recorder, "tools"),
        "retrievers": samples(recorder, "retrievers"),
        "caches": samples(recorder, "caches", cache_type="prompt"),
    }
    on_page: dict[str, list[int]] = {}
    table = rows(section(PAGE, "How many series"), "group", "of what", "samples")
    for group, _, number in table:
        on_page.setdefault(group.strip("`"), []).append(int(number))
    assert {group: numbers[0] for group, numbers in on_page.items()} == found
    streamed = sum(len(metric.buckets) + 3 for metric in GROUPS["latency"])
    cached = len([metric for metric in GROUPS["caches"] if "model" in metric.labels])
    tokens = samples(with_tokens, "tokens", model="gpt-4o")
    more = {group: numbers[1:] for group, numbers in on_page.items() if numbers[1:]}
    assert more == {"tokens": [tokens], "latency": [streamed], "caches": [cached]}
    assert cache.entries() == 1


def test_the_example_of_fewer_labels_has_the_samples_that_the_page_says() -> None:
    few = section(PAGE, "How many series").partition("### Extra labels on fewer")[2]
    of_tenant, of_all = map(
        int, re.findall(r"(\d+) samples for each tenant .*?than\s+(\d+)", few, re.DOTALL)[0]
    )
    counted = {}
    for only in ((), ("cost", "llm_calls_total")):
        recorder = MemoryRecorder()
        pipeline_of(recorder, Options(extra_labels=("tenant",), extra_labels_for=only))
        with (
            agentmetrics.labels(tenant="acme"),
            track_call("openai", "gpt-4o", recorder=recorder) as call,
        ):
            call.record_usage(input_tokens=9, output_tokens=9)
        counted[only] = sum(1 for s in recorder.samples() if s.labels.get("tenant") == "acme")
    assert tuple(counted.values()) == (of_all, of_tenant)


def test_what_is_turned_off_in_the_example_exists() -> None:
    (pattern,) = re.findall(r"METRICS_OFF='(.*)'", PAGE)
    recorder = configure(backend="memory", metrics_off=pattern)
    with track_run("reviewer"), track_call("openai", "gpt-4o") as call:
        call.record_usage(input_tokens=9, output_tokens=9)
    shown = {sample.name for sample in recorder.samples()}
    for gone in ("llm_input_tokens_last_call", "llm_memory_rss_mb", "agent_run_tool_calls_count"):
        assert gone not in shown
    assert {"llm_memory_rss_bytes", "agent_run_llm_calls_count"} <= shown


def test_the_buckets_of_tokens_are_as_the_page_says() -> None:
    assert f"{catalog.CALL_TOKEN_BUCKETS[-1]:,.0f}".replace(",", " ") in PAGE
