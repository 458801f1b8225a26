"""A run of agents through real provider packages over HTTP, to be compared with the wire's count.

Every call names its agent to the wire in a header; nothing of that header reaches the metrics.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

from anthropic import Anthropic
from genai_prices import extract_usage
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from agentmetrics import InstrumentedAgent, MetricsCallbackHandler, Recorder, track_call
from tests.integration.apps.graphs import followed
from tests.services.wire import (
    AGENT_HEADER,
    BROKEN,
    ERROR,
    LEFT,
    NO_KEY,
    SUCCESS,
    TRUNCATED,
    Answer,
    Call,
    Refusal,
    Wire,
)

UNPRICED_MODEL = "house-model-7"
STATUS = {
    SUCCESS: "success",
    ERROR: "error",
    BROKEN: "error",
    LEFT: "cancelled",
    TRUNCATED: "success",
}
"""What the wire saw, as our ``status``: of a truncated stream nobody is told."""


def openai(wire: Wire, agent: str, model: str, **options: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=model,
        base_url=f"{wire.url}/v1",
        api_key=NO_KEY,
        stream_usage=True,
        default_headers={AGENT_HEADER: agent},
        **{"max_retries": 0, **options},
    )


def anthropic(wire: Wire, agent: str, model: str, **options: Any) -> ChatAnthropic:
    return ChatAnthropic(
        model_name=model,
        base_url=wire.url,
        api_key=NO_KEY,
        default_headers={AGENT_HEADER: agent},
        **{"max_retries": 0, **options},
    )


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
def fail(reason: str) -> str:
    """Fail."""
    raise ValueError(reason)


async def run(wire: Wire, recorder: Recorder) -> None:
    """All agents, side by side; each on a model of its own, so that scripts do not cross."""
    handler = MetricsCallbackHandler(recorder)
    await asyncio.gather(
        _planner(wire, handler, recorder),
        _researcher(wire, handler),
        _reviewer(wire, recorder),
        _writers(wire, handler),
        _clerks(wire, handler),
        _scribe(wire, recorder),
    )
    await asyncio.to_thread(wire.settled)


async def _planner(wire: Wire, handler: MetricsCallbackHandler, recorder: Recorder) -> None:
    """LangChain's own agent with tools, on OpenAI: every way to call it."""
    model = openai(wire, "planner", "gpt-4o")
    agent = followed(create_agent(model, [add, fail], name="planner"), "planner", recorder)
    config: Any = {"callbacks": [handler]}
    task: Any = {"messages": [("user", "what is 1 and 2")]}
    adds = Answer(tools=(("add", {"a": 1, "b": 2}),))
    both = Answer(tools=(("add", {"a": 1, "b": 2}), ("add", {"a": 3, "b": 4})))

    wire.script("gpt-4o", adds, Answer(fresh=70_000, cache_read=30_000, output=9_000))
    await agent.ainvoke(task, config)
    wire.script("gpt-4o", both, Answer(cache_read=640))
    await asyncio.to_thread(agent.invoke, task, config)
    wire.script("gpt-4o", adds, Answer())
    async for _ in agent.astream(task, config, stream_mode="messages"):
        pass
    wire.script("gpt-4o", adds, Answer())
    async for _ in agent.astream_events(task, config, version="v2"):
        pass
    wire.script("gpt-4o", Answer(tools=(("fail", {"reason": "x"}),)))
    await _refused(agent.ainvoke(task, config))  # the tool fails, and the run with it
    wire.script("gpt-4o", adds, Refusal(429, "rate_limit_exceeded"))
    await _refused(agent.ainvoke(task, config))
    wire.script("gpt-4o", adds, Answer(hangs=True))
    await _cancelled(agent.ainvoke(task, config), wire, "planner")


async def _researcher(wire: Wire, handler: MetricsCallbackHandler) -> None:
    """Bare calls of Anthropic, named by the handler's metadata: caches, errors, broken streams."""
    model = anthropic(wire, "researcher", "claude-haiku-4-5")
    config: Any = {"callbacks": [handler], "metadata": {"agent_name": "researcher"}}
    cached = Answer(cache_read=5_000, cache_creation=700)
    wire.script("claude-haiku-4-5", cached, cached, Answer(cache_creation_1h=40_000))
    await model.ainvoke("x", config)
    async for _ in model.astream("x", config):
        pass
    await model.ainvoke("x", config)

    too_long = Refusal(400, "invalid_request_error", "prompt is too long: 300000 tokens")
    refusals = Refusal(429), Refusal(500), Refusal(401), too_long
    wire.script("claude-haiku-4-5", *refusals)
    for _ in refusals:
        await _refused(model.ainvoke("x", config))
    wire.script("claude-haiku-4-5", Answer(breaks=True), Answer(hangs=True), Answer(hangs=True))
    await _refused(_read(model, config))
    stream: Any = model.astream("x", config)
    await anext(stream)
    await stream.aclose()
    await until(lambda: wire.count(agent="researcher", ended=LEFT))
    await _cancelled(model.ainvoke("x", config), wire, "researcher")


async def _reviewer(wire: Wire, recorder: Recorder) -> None:
    """An InstrumentedAgent: nobody passes callbacks."""
    review: Any = anthropic(wire, "reviewer", "claude-opus-4-5") | StrOutputParser()

    class Reviewer(InstrumentedAgent):
        agent_name: ClassVar[str] = "reviewer"

        async def execute(self, code: str) -> str:
            return await review.ainvoke(code)

        async def astream(self, code: str) -> Any:
            async for word in review.astream(code):
                yield word

        def run(self, code: str) -> list[str]:
            return review.batch([code, code, code])

    reviewer = Reviewer()
    reviewer.recorder = recorder
    await reviewer.execute("x")
    assert [word async for word in reviewer.astream("x")]
    await asyncio.to_thread(reviewer.run, "x")
    wire.script("claude-opus-4-5", Refusal(500), Answer(hangs=True))
    await _refused(reviewer.execute("x"))
    await _cancelled(reviewer.execute("x"), wire, "reviewer")


async def _writers(wire: Wire, handler: MetricsCallbackHandler) -> None:
    """Three writers at once on one model and one handler, on the loop and in threads."""

    async def writer(name: str) -> None:
        model = openai(wire, name, "gpt-4o-mini")
        config: Any = {"callbacks": [handler], "metadata": {"agent_name": name}}
        await asyncio.gather(*(model.ainvoke("x", config) for _ in range(10)))
        await model.abatch(["x"] * 5, config)
        await asyncio.to_thread(model.batch, ["x"] * 5, config)
        await asyncio.to_thread(lambda: list(model.stream("x", config)))

    await asyncio.gather(*(writer(name) for name in ("poet", "novelist", "editor")))


async def _clerks(wire: Wire, handler: MetricsCallbackHandler) -> None:
    """Reasoning, several choices, retries, events v3, and a model that nobody has a price for."""
    config: Any = {"callbacks": [handler], "metadata": {"agent_name": "clerk"}}
    wire.script("o3-mini", Answer(output=900, reasoning=800), Answer(cache_read=512))
    model = openai(wire, "clerk", "o3-mini")
    await model.ainvoke("x", config)
    await asyncio.to_thread(lambda: list(model.stream("x", config)))
    await openai(wire, "clerk", "o3-mini", n=3).ainvoke("x", config)
    (await asyncio.to_thread(_stream_events_v3, model, config)).output
    await openai(wire, "clerk", UNPRICED_MODEL).ainvoke("x", config)
    wire.script("o3-mini", Refusal(500), Refusal(500), Answer())
    again = model.with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    await again.ainvoke("x", config)


def _stream_events_v3(model: BaseChatModel, config: Any) -> Any:
    events = model.stream_events("x", config, version="v3")
    assert events.output
    return events


async def _scribe(wire: Wire, recorder: Recorder) -> None:
    """Calls with the providers' own clients, without LangChain."""
    headers = {AGENT_HEADER: "scribe"}
    messages: Any = [{"role": "user", "content": "x"}]
    model = "o4-mini"
    wire.script(model, Answer(cache_read=100, reasoning=11), Refusal(401))
    async with AsyncOpenAI(
        base_url=f"{wire.url}/v1", api_key="none", max_retries=0, default_headers=headers
    ) as client:
        for _ in range(2):
            with suppress(Exception):
                async with track_call("openai", model, agent_name="scribe", recorder=recorder) as c:
                    c.record_response(
                        await client.chat.completions.create(model=model, messages=messages)
                    )
    await asyncio.to_thread(_scribe_of_anthropic, wire, recorder, headers, messages)


def _scribe_of_anthropic(
    wire: Wire, recorder: Recorder, headers: dict[str, str], messages: Any
) -> None:
    model = "claude-opus-4-1"
    wire.script(model, Answer(cache_read=900, cache_creation=33, cache_creation_1h=44))
    with (
        Anthropic(base_url=wire.url, api_key="none", default_headers=headers) as client,
        track_call("anthropic", model, agent_name="scribe", recorder=recorder) as call,
    ):
        call.record_response(
            client.messages.create(model=model, messages=messages, max_tokens=1000)
        )


async def _read(model: BaseChatModel, config: Any) -> None:
    async for _ in model.astream("x", config):
        pass


async def _refused(call: Awaitable[Any]) -> None:
    try:
        await call
    except Exception:
        return
    raise AssertionError("the call was to fail")


async def _cancelled(call: Awaitable[Any], wire: Wire, agent: str) -> None:
    """Cancel the call once it is with the wire."""
    task = asyncio.ensure_future(call)
    await until(lambda: wire.hanging[agent])
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def until(holds: Callable[[], object]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("waited for 5 s")


# What the wire counted, in the terms of the metrics


def calls_by_status(wire: Wire) -> Counter[tuple[str, str, str]]:
    """Calls by (agent, provider, status)."""
    return Counter((call.agent, call.api, STATUS[call.ended]) for call in wire.calls)


def tokens(wire: Wire) -> Counter[tuple[str, str, str, str]]:
    """Tokens by (agent, provider, model, token type)."""
    total: Counter[tuple[str, str, str, str]] = Counter()
    for call in wire.having(ended=SUCCESS):
        total[call.agent, call.api, call.asked, "input"] += call.input_tokens
        total[call.agent, call.api, call.asked, "output"] += call.output_tokens
    return total


def token_details(wire: Wire) -> Counter[tuple[str, str, str, str]]:
    """Details by (agent, provider, model, token detail)."""
    total: Counter[tuple[str, str, str, str]] = Counter()
    for call in wire.calls:
        for detail, count in call.details.items():
            total[call.agent, call.api, call.asked, detail] += count
    return total


def costs(wire: Wire) -> dict[tuple[str, str, str], float]:
    """USD by (agent, provider, model), as genai-prices reads the raw usage blocks that went out."""
    total: defaultdict[tuple[str, str, str], float] = defaultdict(float)
    for call, cost in _priced(wire):
        if cost is not None:
            total[call.agent, call.api, call.asked] += cost
    return dict(total)


def unpriced(wire: Wire) -> Counter[tuple[str, str]]:
    """Calls that have no price, by (provider, model)."""
    return Counter((call.api, call.asked) for call, cost in _priced(wire) if cost is None)


def _priced(wire: Wire) -> Iterator[tuple[Call, float | None]]:
    for call in wire.having(ended=SUCCESS):
        flavor = {"api_flavor": "chat"} if call.api == "openai" else {}
        body = {"model": call.model, "usage": call.usage}
        try:
            extracted = extract_usage(body, provider_id=call.api, **flavor)
        except LookupError:
            yield call, None
        else:
            yield call, float(extracted.calc_price().total_price)
