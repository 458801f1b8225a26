"""The work that every contender does: events of a model, with what LangChain really passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from time import process_time
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

MODEL = "gpt-4o-mini"
SERVED = "gpt-4o-mini-2024-07-18"

SERIALIZED: dict[str, Any] = {
    "lc": 1,
    "type": "constructor",
    "id": ["langchain", "chat_models", "openai", "ChatOpenAI"],
    "kwargs": {"model_name": MODEL},
    "name": "ChatOpenAI",
}
MESSAGES = [[HumanMessage("What is the weather in Paris?")]]
INVOCATION_PARAMS: dict[str, Any] = {
    "model": MODEL,
    "model_name": MODEL,
    "stream": False,
    "_type": "openai-chat",
    "stop": None,
}
OPTIONS: dict[str, Any] = {"stop": None}
METADATA: dict[str, Any] = {
    "ls_provider": "openai",
    "ls_model_name": MODEL,
    "ls_model_type": "chat",
    "ls_temperature": None,
    "ls_integration": "langchain_chat_model",
    "lc_versions": {"langchain-core": "1.7.2", "langchain-openai": "1.7.3"},
}
CHUNK = ChatGenerationChunk(message=AIMessageChunk(content="sunny"))


def answer(cache_read: int = 0, reasoning: int = 0, served: str = SERVED) -> AIMessage:
    """What langchain-openai makes of an answer of gpt-4o-mini."""
    return AIMessage(
        "It is sunny, 21 degrees.",
        response_metadata={
            "token_usage": {"completion_tokens": 87, "prompt_tokens": 412, "total_tokens": 499},
            "model_provider": "openai",
            "model_name": served,
            "system_fingerprint": "fp_0ba0d124f1",
            "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
            "service_tier": "default",
            "finish_reason": "stop",
            "logprobs": None,
        },
        usage_metadata={
            "input_tokens": 412,
            "output_tokens": 87,
            "total_tokens": 499,
            "input_token_details": {"audio": 0, "cache_read": cache_read},
            "output_token_details": {"audio": 0, "reasoning": reasoning},
        },
    )


def result(message: AIMessage) -> LLMResult:
    return LLMResult(
        generations=[[ChatGeneration(message=message)]],
        llm_output={
            "token_usage": {"completion_tokens": 87, "prompt_tokens": 412, "total_tokens": 499},
            "model_provider": "openai",
            "model_name": message.response_metadata["model_name"],
        },
    )


RESULT = result(answer())


class Call(NamedTuple):
    """What differs from call to call."""

    run_id: UUID
    metadata: dict[str, Any]


def agent_names(count: int) -> list[str]:
    return [f"agent-{number}" for number in range(count)]


def calls_of(agents: Sequence[str], first: int, count: int) -> list[Call]:
    """Fresh calls, one agent after the other, from the agent with the number ``first`` on."""
    return [
        Call(uuid4(), {**METADATA, "agent_name": agents[number % len(agents)]})
        for number in range(first, first + count)
    ]


def drive(handler: Any, calls: Sequence[Call], answered: LLMResult = RESULT) -> None:
    """The start and the end of each call, as LangChain's callback manager sends them."""
    start, end = handler.on_chat_model_start, handler.on_llm_end
    for run_id, metadata in calls:
        start(
            SERIALIZED,
            MESSAGES,
            run_id=run_id,
            parent_run_id=None,
            tags=[],
            metadata=metadata,
            invocation_params=INVOCATION_PARAMS,
            options=OPTIONS,
            name=None,
            batch_size=1,
        )
        end(answered, run_id=run_id, parent_run_id=None, tags=[])


def call_timer(handler: Any, agents: int = 1) -> Callable[[int], float]:
    """A function that times this many calls, going round these many agents."""
    names, done = agent_names(agents), 0

    def timer(loops: int) -> float:
        nonlocal done
        calls = calls_of(names, done, loops)
        done += loops
        began = process_time()
        drive(handler, calls)
        return process_time() - began

    return timer


def model_timer(handler: Any, models: Sequence[str]) -> Callable[[int], float]:
    """A function that times this many calls, each of the next of these models."""
    waiting = iter(models)

    def timer(loops: int) -> float:
        calls = [
            (
                Call(uuid4(), {**METADATA, "agent_name": "agent-0", "ls_model_name": model}),
                result(of),
            )
            for model in islice(waiting, loops)
            for of in [answer(served=model)]
        ]
        assert len(calls) == loops, "there are not as many models"
        began = process_time()
        for call, answered in calls:
            drive(handler, [call], answered)
        return process_time() - began

    return timer


def token_timer(handler: Any) -> Callable[[int], float]:
    """A function that times this many tokens of a stream whose first token has been seen."""

    def timer(loops: int) -> float:
        (call,) = calls_of(["agent-0"], 0, 1)
        run_id = call.run_id
        handler.on_chat_model_start(
            SERIALIZED, MESSAGES, run_id=run_id, parent_run_id=None, tags=[], metadata=call.metadata
        )
        token = handler.on_llm_new_token
        token(token="It", chunk=CHUNK, run_id=run_id, parent_run_id=None, tags=[])
        began = process_time()
        for _ in range(loops):
            token(token="sunny", chunk=CHUNK, run_id=run_id, parent_run_id=None, tags=[])
        seconds = process_time() - began
        handler.on_llm_end(RESULT, run_id=run_id, parent_run_id=None, tags=[])
        return seconds

    return timer


def stream_timer(handler: Any, tokens: int) -> Callable[[int], float]:
    """A function that times this many streamed calls of so many tokens."""

    def timer(loops: int) -> float:
        calls = calls_of(["agent-0"], 0, loops)
        start, token, end = (
            handler.on_chat_model_start,
            handler.on_llm_new_token,
            handler.on_llm_end,
        )
        began = process_time()
        for run_id, metadata in calls:
            start(
                SERIALIZED,
                MESSAGES,
                run_id=run_id,
                parent_run_id=None,
                tags=[],
                metadata=metadata,
                invocation_params=INVOCATION_PARAMS,
                options=OPTIONS,
                name=None,
                batch_size=1,
            )
            for _ in range(tokens):
                token(token="sunny", chunk=CHUNK, run_id=run_id, parent_run_id=None, tags=[])
            end(RESULT, run_id=run_id, parent_run_id=None, tags=[])
        return process_time() - began

    return timer
