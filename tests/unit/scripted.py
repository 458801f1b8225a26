"""LangChain models that answer what a test says, and what tests read of a recorder."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult

from agentmetrics import MemoryRecorder


def answer(
    text: str = "hello", tokens: tuple[int, int] | None = (10, 5), model: str | None = None,
    **usage: Any,
) -> AIMessage:  # fmt: skip
    """A reply with its usage block."""
    message = AIMessage(text)
    if tokens is not None:
        block: Any = {  # which a test may make wrong
            "input_tokens": tokens[0],
            "output_tokens": tokens[1],
            "total_tokens": sum(tokens),
            **usage,
        }
        message.usage_metadata = block
    if model:
        message.response_metadata = {"model_name": model}
    return message


class Chat(BaseChatModel):
    """A chat model that gives its answers in turn, the last one for ever; errors are raised."""

    answers: list[Any] = [answer()]  # noqa: RUF012 - a pydantic field
    provider: str = "openai"
    model: str = "gpt-4o"
    waits_for: Any = None
    """An ``anyio.Event`` that asynchronous calls wait for."""
    started: Any = None
    """An ``anyio.Event`` that is set when an asynchronous call has begun."""

    def _next(self) -> Any:
        found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(found, BaseException):
            raise found
        return found

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        found = self._next()
        if isinstance(found, ChatResult):
            return found
        return ChatResult(generations=[ChatGeneration(message=found)])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        if self.started is not None:
            self.started.set()
        if self.waits_for is not None:
            await self.waits_for.wait()
        return self._generate(*args, **kwargs)

    def _get_ls_params(self, stop: Any = None, **_: Any) -> Any:
        return {
            "ls_provider": self.provider,
            "ls_model_name": self.model,
            "ls_model_type": "chat",
        }

    @property
    def _llm_type(self) -> str:
        return "scripted-chat"


class StreamingChat(Chat):
    """A chat model that gives its answers letter by letter, usage last."""

    fails_after: int | None = None

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        found = self._next()
        for number, letter in enumerate(found.content):
            if number == self.fails_after:
                raise ConnectionResetError
            yield ChatGenerationChunk(message=AIMessageChunk(content=letter))
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=found.usage_metadata,
                response_metadata=found.response_metadata,
                chunk_position="last",
            )
        )

    async def _astream(self, *args: Any, **kwargs: Any) -> Any:
        for chunk in self._stream(*args, **kwargs):
            yield chunk


class Text(BaseLLM):
    """A text model whose ``llm_output`` is what a test says."""

    output: Any = None
    model: str = "gpt-3.5-turbo-instruct"

    def _generate(self, prompts: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        from langchain_core.outputs import Generation

        if isinstance(self.output, BaseException):
            raise self.output
        return LLMResult(
            generations=[[Generation(text=prompt)] for prompt in prompts], llm_output=self.output
        )

    def _get_ls_params(self, stop: Any = None, **_: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": self.model, "ls_model_type": "llm"}

    @property
    def _llm_type(self) -> str:
        return "scripted-text"


def by(recorder: MemoryRecorder, metric: str, *labels: str) -> dict[Any, float]:
    """The values of a metric that are not 0, by the values of these labels."""
    found: dict[Any, float] = defaultdict(float)
    for sample in recorder.samples():
        if sample.name == metric and sample.value:
            key = tuple(sample.labels[label] for label in labels)
            found[key if len(labels) > 1 else key[0]] += sample.value
    return dict(found)


def runs(recorder: MemoryRecorder) -> dict[Any, float]:
    return by(recorder, "agent_runs_total", "agent_name", "status")


def calls(recorder: MemoryRecorder) -> dict[Any, float]:
    return by(recorder, "llm_calls_total", "agent_name", "status")


def errors(recorder: MemoryRecorder) -> dict[Any, float]:
    return by(recorder, "agentmetrics_handler_errors_total", "event")


def assert_settled(recorder: MemoryRecorder) -> None:
    """Nothing is in flight."""
    in_flight = {
        "llm_active_calls",
        "agent_active_runs",
        "tool_executions_active",
        "agentmetrics_open_runs",
        "llm_oldest_active_call_seconds",
        "agent_oldest_active_run_seconds",
    }
    assert [s for s in recorder.samples() if s.name in in_flight and s.value] == []
