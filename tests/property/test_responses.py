"""Responses and streams in any shape: nothing is raised into the program, nothing is below zero."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from agentmetrics import MemoryRecorder, track_call
from agentmetrics.calls.facts import LLMCall
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.pricing import Prices
from agentmetrics.providers.blocks import _BLOCKS, _EXCLUSIVE, _SPELLINGS
from agentmetrics.providers.streams import _BY_FIELD, _BY_TYPE
from agentmetrics.sources.langchain.callbacks.usage_metadata import usage_of
from tests.conformance.case import all_cases
from tests.conformance.without import as_object

RECORDER = MemoryRecorder()
pipeline_of(RECORDER, Options(prices=Prices()))
_PATHS = [*_BLOCKS, *(path for paths in _SPELLINGS.values() for path in paths)]
NAMES = sorted(
    {name for path in _PATHS for name in path}
    | {name for _, marks, _ in _EXCLUSIVE for name in marks}
    | set(_BY_FIELD)
    | {"type", "event_type", "response", "message", "delta", "data", "raw", "error", "id", "body"}
    | {"custom_id", "chunk", "bytes", "results", "embeddings", "ResponseMetadata", "HTTPHeaders"}
)
COUNTS = st.one_of(
    st.integers(0, 10_000),
    st.integers(),
    st.floats(),
    st.none(),
    st.booleans(),
    st.text(max_size=3),
)
ANYTHING = st.recursive(
    COUNTS | st.sampled_from([*_BY_TYPE, "response.completed", "stop", "data: {}"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=15,
)
_OTHER_WIRES = {name for _, marks, _ in _EXCLUSIVE for name in marks} | {"eval_count"}
BODIES = [case.body or list(case.events) for case in all_cases()]


def told(value: Any) -> Any:
    """The value in each form that a program may have it in."""
    return [value, as_object(value), json.dumps(value), json.dumps(value).encode()]


def assert_sane() -> None:
    for sample in RECORDER.samples():
        assert sample.value >= 0, sample


@given(ANYTHING)
def test_any_response_is_a_call(value: Any) -> None:
    before = RECORDER.value("llm_calls_total")
    for form in told(value):
        with track_call("openai", "gpt-4o", recorder=RECORDER) as call:
            call.record_response(form)
    assert RECORDER.value("llm_calls_total") == before + 4
    assert_sane()


@given(st.lists(ANYTHING, max_size=6))
def test_any_events_are_passed_on_as_they_are(events: list[Any]) -> None:
    for form in (
        events,
        [json.dumps(event) for event in events],
        [b"\xff", *map(as_object, events)],
    ):
        with track_call("openai", "gpt-4o", recorder=RECORDER) as call:
            passed = list(call.record_stream(iter(form)))
        assert [id(event) for event in passed] == [id(event) for event in form]
    assert_sane()


@given(st.sampled_from(BODIES), st.data())
def test_a_recorded_response_with_a_count_that_cannot_be(body: Any, data: st.DataObject) -> None:
    broken = json.loads(json.dumps(body))
    holders = list(_holders(broken))
    holder, name = data.draw(st.sampled_from(holders))
    holder[name] = data.draw(COUNTS)
    for form in told(broken):
        with track_call("openai", "gpt-4o", recorder=RECORDER) as call:
            call.record_response(form)
    assert_sane()


# https://docs.cohere.com/v1/reference/chat-stream
COHERE_1 = (
    {"event_type": "stream-start", "is_finished": False, "generation_id": "8f6e"},
    {"event_type": "text-generation", "is_finished": False, "text": "Mount"},
    {"event_type": "tool-calls-chunk", "tool_call_delta": {"index": 0, "name": "weigh"}},
    {"event_type": "tool-calls-generation", "tool_calls": [{"name": "weigh", "parameters": {}}]},
    {
        "event_type": "stream-end",
        "is_finished": True,
        "finish_reason": "COMPLETE",
        "response": {
            "text": "Mount Everest.",
            "meta": {
                "billed_units": {"input_tokens": 7.0, "output_tokens": 4.0},
                "tokens": {"input_tokens": 502.0, "output_tokens": 4.0},
            },
        },
    },
)
STREAMS = [*(case.events for case in all_cases() if case.streamed), COHERE_1]
COHERES = [
    *(case.events for case in all_cases() if case.wire == "cohere" and case.streamed),
    COHERE_1,
]


@given(st.sampled_from(STREAMS), st.data())
def test_a_documented_stream_out_of_order_with_a_value_that_cannot_be(
    documented: tuple[Any, ...], data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.integers(0, len(documented) - 1), min_size=1, max_size=8))
    events = [json.loads(json.dumps(documented[place])) for place in places]
    holder, name = data.draw(st.sampled_from(list(_holders(events))))
    holder[name] = data.draw(ANYTHING)
    before = RECORDER.value("llm_calls_total")
    for form in (
        events,
        [as_object(event) for event in events],
        [f"data: {json.dumps(event)}\n\n".encode() for event in events],
    ):
        with track_call("cohere", "command-a-03-2025", recorder=RECORDER) as call:
            passed = list(call.record_stream(iter(form)))
        assert [id(event) for event in passed] == [id(event) for event in form]
    assert RECORDER.value("llm_calls_total") == before + 3
    assert_sane()


@given(st.sampled_from(COHERES), st.data())
def test_a_stream_of_cohere_bills_what_its_end_says_whatever_comes_before(
    documented: tuple[Any, ...], data: st.DataObject
) -> None:
    *body, end = documented
    usage = {**end.get("delta", {}), **end.get("response", {})}
    billed = usage.get("usage", usage.get("meta", {})).get("billed_units", {})
    said = data.draw(st.lists(st.sampled_from(body), max_size=8))
    for form in ([*said, end], [as_object(event) for event in (*said, end)]):
        before = RECORDER.value("llm_tokens_total")
        with track_call("cohere", "command-a-03-2025", recorder=RECORDER) as call:
            list(call.record_stream(iter(form)))
        tokens = RECORDER.value("llm_tokens_total") - before
        assert tokens == sum(billed.values())


WIRES = {
    "OpenAI": ("prompt_tokens", "completion_tokens", "total_tokens"),
    "OpenAI's responses": ("input_tokens", "output_tokens", "total_tokens"),
    "Gemini": ("promptTokenCount", "candidatesTokenCount", "totalTokenCount"),
    "Converse": ("inputTokens", "outputTokens", "totalTokens"),
}
_BESIDE = sorted(
    {name for path in _PATHS for name in path[-2:]}
    - {name for names in WIRES.values() for name in names}
    - {"usage", "usage_metadata", "usageMetadata", "meta", *_OTHER_WIRES}
    | {"cost", "cost_details", "total_cost", "cost_in_usd_ticks", "estimated_cost", "cacheDetails"}
    | {"thoughtsTokenCount", "toolUsePromptTokenCount", "promptTokensDetails"}
)


@example("OpenAI", (294, 294, 588), {"cost_in_usd_ticks": 10**400})
@example("OpenAI", (294, 294, 588), {"cost": 10**400, "cost_details": {"x": 10**400}})
@given(
    st.sampled_from(sorted(WIRES)),
    st.tuples(st.integers(0, 10_000), st.integers(0, 10_000), COUNTS | st.just(10**400)),
    st.dictionaries(
        st.sampled_from(_BESIDE), ANYTHING | st.just(10**400) | st.lists(COUNTS), max_size=5
    ),
)
def test_input_and_output_count_whatever_is_beside_them(
    wire: str, counts: tuple[int, int, Any], beside: dict[str, Any]
) -> None:
    usage = {**beside, **dict(zip(WIRES[wire], counts, strict=True))}
    for form in (usage, as_object(usage)):
        before = [RECORDER.value(name) for name in _COUNTED]
        with track_call("openai", "gpt-4o", recorder=RECORDER) as call:
            call.record_response({"usage": form})
        tokens, unpriced, wrong = (
            RECORDER.value(name) - old for name, old in zip(_COUNTED, before, strict=True)
        )
        assert tokens >= counts[0] + counts[1]
        assert wrong in (0, 1, 2)  # of the tokens, and of the cost
        assert call.cost_usd is None or 0 <= call.cost_usd < 1e6
        assert unpriced in (0, 1)
        assert unpriced == (call.cost_usd is None)
    assert_sane()


_DETAILS = st.dictionaries(
    st.sampled_from(
        (
            *("cache_read", "cache_creation", "reasoning", "audio", "image"),
            *("flex", "flex_cache_read", "citation_tokens", "new"),
            *("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
        )
    ),
    ANYTHING | st.just(10**400),
    max_size=4,
)


@given(
    st.integers(1, 10_000),
    st.integers(0, 10_000),
    st.fixed_dictionaries(
        {},
        optional={
            "total_tokens": COUNTS | st.just(10**400),
            "input_token_details": _DETAILS | COUNTS,
            "output_token_details": _DETAILS | COUNTS,
        },
    ),
)
def test_the_same_of_what_langchain_hands_on(sent: int, received: int, rest: Any) -> None:
    call = LLMCall("writer", "openai", "gpt-4o", 0.0)
    usage = usage_of({"input_tokens": sent, "output_tokens": received, **rest}, call)
    assert usage.stands
    assert usage.total_tokens >= sent + received
    assert usage.is_bill == (usage.doubt is None)


_COUNTED = ("llm_tokens_total", "llm_unpriced_calls_total", "agentmetrics_handler_errors_total")


def _holders(value: Any) -> Any:
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for name, inner in parts:
        yield value, name
        if isinstance(inner, dict | list):
            yield from _holders(inner)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=30), st.sampled_from([1, 2, 3]))
def test_text_says_the_same_however_it_is_cut(cuts: list[int], times: int) -> None:
    events = [{"choices": [{"index": 0, "delta": {"content": "Zürich"}}]}] * times
    end = {"choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 5}}
    lines = [f"data: {json.dumps(event, ensure_ascii=False)}" for event in [*events, end]]
    text = "\r\n\r\n".join([*lines, "data: [DONE]", ""]).encode()
    pieces, start = [], 0
    for cut in [*cuts, len(text)]:
        pieces.append(text[start : start + cut])
        start += cut
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(prices=Prices()))
    with track_call("openai", "gpt-4o", recorder=recorder) as call:
        assert b"".join(call.record_stream(iter(pieces))) == text[:start]
    assert recorder.value("llm_tokens_total") == 15
    assert recorder.value("agentmetrics_handler_errors_total") == 0
