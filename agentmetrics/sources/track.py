"""track_call: a call made without LangChain, as a sync and async context manager."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar, cast
from weakref import ref

from agentmetrics.calls.facts import FOUND, LIST, PROGRAM, UNKNOWN, Ceiling, Unread
from agentmetrics.config.active import pipeline_for
from agentmetrics.pipeline import Pipeline
from agentmetrics.providers.costs import Told
from agentmetrics.providers.plain import read_plainly
from agentmetrics.providers.responses import read_response
from agentmetrics.providers.service_tier import tier_told
from agentmetrics.providers.streams import StreamReader
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.amounts import dollars
from agentmetrics.sources.blocks import Block
from agentmetrics.sources.seen import note
from agentmetrics.sources.streams import (
    ADVICE,
    ADVICE_STREAM,
    OpenCall,
    Progress,
    is_stream,
    recorded_stream,
)
from agentmetrics.sources.surroundings import call_here

if TYPE_CHECKING:
    from typing_extensions import Self

S = TypeVar("S")

_ADVICE_UNREAD = f"read the stream through record_stream(), or {ADVICE}"


def _nothing() -> None:
    return None


class track_call(Block):  # noqa: N801 - used like contextlib's functions
    """Record one call of a model; use it with ``with`` or ``async with``.

    The call begins when the block is entered and ends, once, when it is left: as a success, or with
    the status of the exception, which propagates. A stream that is read after the block was left
    is still the call's, which then ends with it. ``agent_name`` defaults to that of the enclosing
    agent, found as for LangChain calls, and ``recorder`` to the configured one. A call without
    recorded usage is counted without tokens. Each object records one call.

    Entering raises ``BudgetExceeded`` when a budget blocks the call. A budget with ``reserve``
    needs the maximum that the call can use: ``max_input_tokens`` and ``max_output_tokens``.
    ``service_tier`` is the one that is asked for, such as ``batch``, for what no response says; the
    tier that a response names stands for it.
    """

    # As for calls, the class has what is filled in later.
    _ceiling: Ceiling | None = None
    _progress: Progress | None = None
    _failure: Exception | None = None
    _recorded: Callable[[], object] = staticmethod(_nothing)

    def __init__(
        self,
        provider: str,
        model: str,
        *,
        agent_name: str | None = None,
        recorder: Recorder | None = None,
        max_input_tokens: int | None = None,
        max_output_tokens: int | None = None,
        service_tier: str | None = None,
    ) -> None:
        pipeline = pipeline_for(recorder)
        if max_input_tokens is not None and max_output_tokens is not None:
            try:
                self._ceiling = Ceiling.of(max_input_tokens, max_output_tokens)
            except ValueError as error:  # a budget that reserves refuses the call
                pipeline.failed("admit", error)
        agent = None if agent_name is None else clean_label(agent_name) or None
        self._place(
            pipeline, agent, clean_label(provider) or UNKNOWN, clean_label(model) or UNKNOWN
        )
        if service_tier is not None:
            self._call.service_tier = tier = tier_told(service_tier)
            if self._ceiling is not None:
                self._ceiling = self._ceiling._replace(service_tier=tier)

    def _place(self, pipeline: Pipeline, agent_name: str | None, provider: str, model: str) -> None:
        self._pipeline = pipeline
        self._call = call_here(pipeline, agent_name, provider, model)
        self._opened = OpenCall(pipeline, self._call)

    def record_usage(
        self,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        *,
        cache_read_tokens: int | None = None,
        cache_creation_tokens: int | None = None,
        cache_creation_1h_tokens: int | None = None,
        reasoning_tokens: int | None = None,
        audio_input_tokens: int | None = None,
        audio_output_tokens: int | None = None,
        image_input_tokens: int | None = None,
        image_output_tokens: int | None = None,
        cost_usd: float | None = None,
    ) -> None:
        """Record what the call used; the fields are those of ``Usage``, and the last record counts.

        ``cost_usd`` is what the call cost where that is known, else the price list says.

        Invalid token counts and costs (negative, NaN, text) are not counted; they increment
        ``agentmetrics_handler_errors_total{event="record_usage"}`` and never raise an error.
        """
        try:
            self._call.cost_usd, self._call.cost_source = None, LIST
            if cost_usd is not None:
                self._call.cost(Told(dollars(cost_usd), PROGRAM))
        except Exception as error:
            self._pipeline.failed("record_usage", error)
        told = Usage(
            input_tokens,
            output_tokens,
            cache_read_tokens,
            cache_creation_tokens,
            cache_creation_1h_tokens,
            reasoning_tokens,
            audio_input_tokens,
            audio_output_tokens,
            image_input_tokens,
            image_output_tokens,
        )
        self._call.usage = usage = told.as_told
        if usage.doubt is not None:
            self._pipeline.failed("record_usage", usage.doubt)

    def record_response(self, response: object) -> None:
        """Record usage, the serving model and the finish reason from a provider's response.

        It is what an SDK or a framework returns, the same as plain data or as JSON, or a raw
        response whose body was read; see ``Usage.from_response`` for the providers. With any other,
        the call is counted but its tokens are not. Nothing is read from the network.
        """
        call = self._call
        try:
            if read_plainly(call, response):
                return
        except Exception:  # somebody's object: what is wrong with it is told below
            call.usage = None
        reader = StreamReader()
        try:
            read_response(reader, response)
            call.usage = reader.usage
        except Exception as error:
            self._pipeline.failed("record_response", error)
        if reader.doubt is not None:
            self._pipeline.failed("record_response", reader.doubt)
        call.serve(reader.served_model)
        call.finish_reason = reader.finish_reason
        call.service_tier = reader.service_tier or call.service_tier
        if reader.cost is not None:
            call.cost(reader.cost)
        call.api_seconds = reader.api_seconds
        self._failure = reader.failure
        if call.is_unmetered:
            call.unread = Unread.of(response, self._advice(response))

    def _advice(self, response: object) -> str:
        if is_stream(response):
            return _ADVICE_UNREAD
        return ADVICE_STREAM if self._call.first_token else ADVICE

    def record_stream(self, stream: S) -> S:
        """Pass on a provider SDK's stream, to be read with ``for`` or ``async for``, and record it.

        What is returned gives the stream's own events and has its attributes. The first event with
        text, thinking or a tool call is the first token; usage, the serving model and the finish
        reason are read from the events, see ``StreamReader`` for which. The call is ``cancelled``
        when the stream is closed or dropped before its end, and has the status of the exception
        that the stream raises. It ends when the block has been left and the stream has ended,
        whichever is later, so that a stream can be returned from inside the block. The managers
        that SDKs have for streams (``messages.stream(…)``) are entered here.

        Raises ``TypeError`` for what is no stream.
        """
        progress = Progress(self._opened, stream)
        recorded = recorded_stream(stream, progress)
        self._progress, self._recorded = progress, ref(recorded)
        return cast("S", recorded)

    def record_cached(self) -> None:
        """Record that a cache answered: no provider was asked, and nothing is billed."""
        self._call.lookup = FOUND

    @property
    def cost_usd(self) -> float | None:
        """What the call cost, in USD, once it is over; ``None`` where nobody knows, and for an
        answer from a cache."""
        return None if self._call.cached else self._call.cost_usd

    def record_first_token(self) -> None:
        """Record that the first chunk with content has arrived; later calls have no effect."""
        if not self._call.first_token:
            self._call.first_token = perf_counter()

    def _most(self) -> Ceiling | None:
        """The maximum that the call can use."""
        return self._ceiling

    def _open(self) -> None:
        self._call.started = perf_counter()
        self._pipeline.open_call(self._opened.run_id, self._call, self._most)

    def __enter__(self) -> Self:
        self._open()
        note(self._opened.run_id)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        progress = self._progress
        if error is None and progress is not None:
            if not progress.has_ended and self._recorded() is not None:
                progress.block_is_left = True
                # From here on the stream alone holds the call: it is over when that is dropped.
                self._opened, self._progress = OpenCall(self._pipeline, self._call), None
                return
            progress.close()
            error = progress.error
        self._opened.end(error or self._failure)
