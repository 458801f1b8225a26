"""One call of an SDK: on a wrapped client, in track_call, told to record_call; and the handler's.

The client is the real one, at the method that all its requests go through, which here has the
answer at once: what the SDK does around it is the same either way, and thirty times as much.
Measured is CPU time. What a wrapped client costs is the difference of the two rows of OpenAI's.
"""

from __future__ import annotations

from collections.abc import Callable
from time import process_time
from typing import Any

import openai
from openai._models import FinalRequestOptions
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

from agentmetrics import (
    MemoryRecorder,
    MetricsCallbackHandler,
    record_call,
    track_call,
    wrap,
)
from benchmarks.contenders import NOTHING
from benchmarks.handwritten import NoopHandler
from benchmarks.measure import Row, Timer, interleaved
from benchmarks.workload import MODEL, SERVED, agent_names, calls_of, drive

HANDLER = "MetricsCallbackHandler"
BARE, WRAPPED = "openai.OpenAI", "openai.OpenAI, wrapped"
TRACK, RECORD = "track_call", "record_call"
_MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]
_REQUEST = FinalRequestOptions.construct(
    method="post",
    url="/chat/completions",
    json_data={"model": MODEL, "messages": _MESSAGES},
)
ANSWER = ChatCompletion(
    id="chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT",
    object="chat.completion",
    created=1_760_000_000,
    model=SERVED,
    choices=[
        Choice(
            index=0,
            finish_reason="stop",
            message=ChatCompletionMessage(role="assistant", content="It is sunny, 21 degrees."),
        )
    ],
    usage=CompletionUsage(prompt_tokens=412, completion_tokens=87, total_tokens=499),
)


class Unsent(openai.OpenAI):
    """A client whose requests are answered before they are sent."""

    def request(self, *_: Any, **__: Any) -> Any:
        return ANSWER


def measure(rounds: int) -> Row:
    """A call, and what is recorded of it: the same metrics in each row but those of nothing."""
    bare, wrapped = Unsent(api_key="none"), Unsent(api_key="none")
    wrap(wrapped, agent_name="agent-0", recorder=MemoryRecorder())
    timers = {
        NOTHING: _handled(NoopHandler()),
        HANDLER: _handled(MetricsCallbackHandler(MemoryRecorder())),
        BARE: _timed(lambda: _ask(bare)),
        WRAPPED: _timed(lambda: _ask(wrapped)),
        TRACK: _timed(_tracking(MemoryRecorder())),
        RECORD: _timed(_recording(MemoryRecorder())),
    }
    return interleaved(timers, loops=200, rounds=rounds)


def _ask(client: openai.OpenAI) -> None:
    client.request(ChatCompletion, _REQUEST)


def _tracking(recorder: MemoryRecorder) -> Callable[[], None]:
    def track() -> None:
        with track_call("openai", MODEL, agent_name="agent-0", recorder=recorder) as call:
            call.record_response(ANSWER)

    return track


def _recording(recorder: MemoryRecorder) -> Callable[[], None]:
    def record() -> None:
        record_call(
            "openai",
            MODEL,
            agent_name="agent-0",
            duration_seconds=0.5,
            input_tokens=412,
            output_tokens=87,
            served_model=SERVED,
            recorder=recorder,
        )

    return record


def _timed(call: Callable[[], None]) -> Timer:
    def timer(loops: int) -> float:
        began = process_time()
        for _ in range(loops):
            call()
        return process_time() - began

    return timer


def _handled(handler: Any) -> Timer:
    names = agent_names(1)

    def timer(loops: int) -> float:
        calls = calls_of(names, 0, loops)
        began = process_time()
        drive(handler, calls)
        return process_time() - began

    return timer
