"""Whatever LangChain passes to a callback: nothing is raised, and every call ends exactly once."""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult
from langgraph.errors import GraphInterrupt

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.recording.metric import clean_label
from tests.unit.scripted import assert_settled, by, errors


class HostileError(Exception):
    """Raised by whatever is asked of a hostile object."""


class Hostile:
    """An object of somebody's own that answers nothing."""

    def __bool__(self) -> bool:
        raise HostileError

    def __len__(self) -> int:
        raise HostileError

    def __iter__(self) -> Iterator[Any]:
        raise HostileError

    def __getattr__(self, name: str) -> Any:
        raise HostileError

    def __eq__(self, other: object) -> bool:
        raise HostileError

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return "Hostile()"


class OwnError(Exception):
    """An error of somebody's own, whose attributes raise as those of HTTP clients can."""

    @property
    def status_code(self) -> int:
        raise HostileError

    @property
    def exceptions(self) -> Any:
        raise HostileError


class HostileMapping(dict[Any, Any]):
    """A mapping that cannot be read."""

    def get(self, *args: Any) -> Any:
        raise HostileError

    def items(self) -> Any:
        raise HostileError

    def __repr__(self) -> str:
        return "HostileMapping()"


texts = st.sampled_from(["", "a", "gpt-4o", "a\nb", "\ud800", "é" * 300])
numbers = st.integers() | st.floats() | st.sampled_from([10**400, -1, 2**63, math.nan])
plain = st.none() | st.booleans() | numbers | texts
json = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner),
    max_leaves=4,
)
odd = (
    st.builds(Hostile) | st.builds(HostileMapping) | st.builds(object) | st.binary(max_size=9)
    | st.just({"agent_name": Hostile(), "ls_provider": Hostile(), "ls_model_name": ["gpt"]})
    | st.dictionaries(st.integers() | st.none(), json, max_size=3)
    | st.just(("a", Hostile())) | st.just({1, 2}) | st.builds(uuid.uuid4)
)  # fmt: skip

# What is nearly right: what LangChain passes, with one thing of it odd.
names = st.sampled_from(["agent_name", "lc_agent_name", "ls_provider", "ls_model_name", "tenant"])
metadata = st.dictionaries(names | texts, json | odd, max_size=4)
counts = st.sampled_from(
    ["input_tokens", "output_tokens", "total_tokens", "input_token_details", "output_token_details",
     "total_cost", "tokens"]
)  # fmt: skip
details = st.dictionaries(st.sampled_from(["cache_read", "reasoning", "audio", "new"]), json | odd)
usage = st.dictionaries(counts, json | odd | details, max_size=6)
served = st.dictionaries(st.sampled_from(["model_name", "model", "model_provider"]), json | odd)


def _answer(usage_metadata: Any, response_metadata: Any) -> Any:
    message = AIMessage("hello")
    message.usage_metadata = usage_metadata
    message.response_metadata = response_metadata
    return LLMResult(generations=[[ChatGeneration(message=message)]])


def _text(llm_output: Any) -> Any:
    result = LLMResult(generations=[[Generation(text="hello")]])
    result.llm_output = llm_output
    return result


def _own_class(message: Any) -> Any:
    return SimpleNamespace(generations=[[SimpleNamespace(message=message)]], llm_output=None)


responses = (
    st.builds(_answer, usage | json | odd, served | json | odd)
    | st.builds(_text, json | odd | st.fixed_dictionaries({"token_usage": usage}))
    | st.builds(_own_class, json | odd | st.builds(SimpleNamespace, usage_metadata=usage))
    | st.builds(lambda g: SimpleNamespace(generations=g, llm_output=None), json | odd)
)  # fmt: skip
raised = st.sampled_from([ValueError, OwnError, KeyboardInterrupt, GraphInterrupt]).map(
    lambda e: e()
)
chunks = st.builds(
    lambda content, calls, extra: SimpleNamespace(
        message=SimpleNamespace(content=content, tool_call_chunks=calls, additional_kwargs=extra)
    ),
    json | odd,
    json | odd,
    json | odd,
)
events = st.builds(
    lambda kind, content: {"event": kind, "content": content, "delta": content},
    st.sampled_from(["content-block-start", "content-block-delta", "message-start", "heartbeat"]),
    json | odd,
)

anything = json | odd
NEARLY_RIGHT: dict[str, Any] = {
    "metadata": metadata | anything,
    "invocation_params": metadata | anything,
    "response": responses | anything,
    "error": raised | anything,
    "chunk": chunks | anything,
    "event": events | anything,
}
"""Arguments that have more shapes than any value has."""
Methods = list[tuple[str, tuple[str, ...]]]
STARTS: dict[str, Methods] = {
    "llm": [
        ("on_chat_model_start", ("serialized", "messages", "invocation_params", "options")),
        ("on_llm_start", ("serialized", "prompts", "invocation_params", "options")),
    ],
    "chain": [("on_chain_start", ("serialized", "inputs", "run_type"))],
    "tool": [("on_tool_start", ("serialized", "input_str", "inputs", "tool_call_id"))],
    "retriever": [("on_retriever_start", ("serialized", "query"))],
}
BETWEEN: Methods = [
    ("on_llm_new_token", ("token", "chunk")),
    ("on_stream_event", ("event",)),
    ("on_text", ("text",)),
    ("on_retry", ("retry_state",)),
    ("on_agent_action", ("action",)),
    ("on_agent_finish", ("finish",)),
    ("on_custom_event", ("name", "data")),
]
ENDS: dict[str, Methods] = {
    "llm": [("on_llm_end", ("response",)), ("on_llm_error", ("error", "response"))],
    "chain": [("on_chain_end", ("outputs",)), ("on_chain_error", ("error",))],
    "tool": [("on_tool_end", ("output",)), ("on_tool_error", ("error",))],
    "retriever": [("on_retriever_end", ("documents",)), ("on_retriever_error", ("error",))],
}
COMMON = ("parent_run_id", "tags", "metadata", "name", "unheard_of")
FINISHED = {
    "llm": ("llm_calls_total", "llm_cache_hits_total"),
    "tool": ("tool_executions_total",),
    "retriever": ("retriever_queries_total",),
    "chain": (),
}

Event = tuple[str, dict[str, Any]]


def calls_of(methods: Methods) -> st.SearchStrategy[Event]:
    """One of these methods with any of its arguments, each of them anything."""
    return st.one_of(
        [
            st.tuples(
                st.just(name),
                st.fixed_dictionaries(
                    {}, optional={a: NEARLY_RIGHT.get(a, anything) for a in arguments + COMMON}
                ),
            )
            for name, arguments in methods
        ]
    )


lives = st.one_of(
    [
        st.tuples(
            st.just(kind),
            calls_of(STARTS[kind]),
            st.lists(calls_of(BETWEEN), max_size=2),
            calls_of(ENDS[kind]),
        )
        for kind in STARTS
    ]
)
_methods = [m for group in (STARTS, ENDS) for methods in group.values() for m in methods]
some_start_or_end = calls_of(_methods)
some_event = calls_of(_methods + BETWEEN)


def fresh() -> tuple[MemoryRecorder, MetricsCallbackHandler]:
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    return recorder, MetricsCallbackHandler(recorder)


def check_samples(recorder: MemoryRecorder) -> None:
    """Every number can be, every label can travel, and no gauge failed to be read."""
    with logged() as records:
        for sample in recorder.samples():
            assert sample.value >= 0, sample
            for text in sample.labels.values():
                assert type(text) is str
                assert clean_label(text) == text
    assert [record.getMessage() for record in records] == []


class Kept(logging.Handler):
    """What is logged, in a list."""

    def __init__(self, records: list[logging.LogRecord]) -> None:
        super().__init__()
        self.records = records

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def logged() -> Iterator[list[logging.LogRecord]]:
    records: list[logging.LogRecord] = []
    handler = Kept(records)
    logger = logging.getLogger("agentmetrics")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


@given(lives)
def test_a_run_of_any_kind_is_recorded_once_whatever_is_said_of_it(life):
    kind, (start, about_start), between, (end, about_end) = life
    recorder, handler = fresh()
    run_id = uuid.uuid4()
    getattr(handler, start)(run_id=run_id, **about_start)
    assert by(recorder, "agentmetrics_open_runs", "kind").get(kind) == 1
    check_samples(recorder)
    for event, about in between:
        getattr(handler, event)(run_id=run_id, **about)
    getattr(handler, end)(run_id=run_id, **about_end)
    assert sum(map(recorder.value, FINISHED[kind])) == len(FINISHED[kind][:1])
    if end.endswith("_error") and not recorder.value("llm_cache_hits_total"):
        for metric in FINISHED[kind][:1]:
            assert recorder.value(metric, status="success") == 0
    check_samples(recorder)
    assert_settled(recorder)


@given(st.lists(some_event, max_size=8))
def test_events_without_a_run_id_are_counted_and_open_nothing(found):
    recorder, handler = fresh()
    for event, about in found:
        getattr(handler, event)(**about)
    heard = [event for event, _ in found if event not in UNUSED]
    assert errors(recorder) == {event: heard.count(event) for event in heard}
    check_samples(recorder)
    assert_settled(recorder)


UNUSED = {"on_text", "on_retry", "on_agent_action", "on_agent_finish", "on_custom_event"}


@given(st.lists(st.tuples(some_start_or_end, json | odd), max_size=8))
def test_a_run_id_that_is_none_opens_nothing(found):
    recorder, handler = fresh()
    for (event, about), run_id in found:
        if not isinstance(run_id, uuid.UUID):
            getattr(handler, event)(**{**about, "run_id": run_id})
    check_samples(recorder)
    assert_settled(recorder)


@given(st.data())
def test_runs_in_any_order_and_of_any_parents_all_end(data):
    recorder, handler = fresh()
    run_ids = [uuid.uuid4() for _ in range(4)]
    parents = st.sampled_from([*run_ids, None, "parent"])
    found = data.draw(
        st.lists(
            st.tuples(st.sampled_from(run_ids), parents, some_event),
            max_size=12,
        )
    )
    for run_id, parent, (event, about) in found:
        getattr(handler, event)(**{**about, "run_id": run_id, "parent_run_id": parent})
    check_samples(recorder)
    for run_id in run_ids:
        handler.on_chain_end(run_id=run_id)
    assert not pipeline_of(recorder).table._open
    check_samples(recorder)
    assert_settled(recorder)
