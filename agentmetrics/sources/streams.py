"""Streams of a provider's SDK, passed on untouched while their call is read from them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from time import perf_counter
from types import TracebackType
from typing import TYPE_CHECKING, Any

from agentmetrics.calls.facts import LLMCall, Unread
from agentmetrics.calls.table import OwnRunId
from agentmetrics.pipeline import Pipeline
from agentmetrics.providers.events.anthropic import text_of
from agentmetrics.providers.streams import StreamReader
from agentmetrics.recording.metric import class_has, class_name, clean_label

if TYPE_CHECKING:
    from typing_extensions import Self

ADVICE = "pass the tokens to record_usage()"
ADVICE_STREAM = (
    "request usage in the stream (of OpenAI with stream_options={'include_usage': True}), or "
    f"{ADVICE}"
)
_READ_TO_THE_END = (
    "get_final_completion",
    "get_final_message",
    "get_final_response",
    "get_final_text",
    "until_done",
)
"""Methods of the SDKs' own streams that read what is left, as they would past the proxy."""


class OpenCall:
    """A call that goes on: it is ended once, or counted as cancelled when nobody holds this."""

    def __init__(self, pipeline: Pipeline, call: LLMCall) -> None:
        self.pipeline, self.call = pipeline, call
        self.run_id = OwnRunId()

    def end(self, error: BaseException | None) -> None:
        if self.pipeline.table.take(self.run_id) is not None:
            self.pipeline.finish(self.call, error)


class Progress:
    """How far a stream has come, and its call with it.

    The call ends when its stream has ended and its block has been left, whichever is later.
    """

    def __init__(self, opened: OpenCall, stream: object) -> None:
        self._opened = opened
        self._call = opened.call
        self._reader = StreamReader()
        self.kind = class_name(stream)
        self.has_ended = False
        self.block_is_left = False
        self.error: BaseException | None = None

    def read(self, event: object) -> None:
        """Read an event that has arrived, and put what it says into the call."""
        try:
            self._read(event)
        except Exception as error:  # somebody's object: its attributes may do anything
            self._opened.pipeline.failed("record_stream", error)

    def _read(self, event: object) -> None:
        call, reader, now = self._call, self._reader, perf_counter()
        said = False
        try:
            said = reader.read(event)
        except Exception as error:
            self._opened.pipeline.failed("record_stream", error)
        if call.first_token:
            call.note_chunk(now)
        elif said:
            call.first_token = call.last_chunk = now
        if reader.usage is not None:
            call.usage = reader.usage
        if reader.cost is not None:
            call.cost(reader.cost)
        if reader.served_model and reader.served_model != call.served_model:
            call.serve(reader.served_model)
        call.api_seconds = reader.api_seconds or call.api_seconds
        call.finish_reason = reader.finish_reason or call.finish_reason
        call.service_tier = reader.service_tier or call.service_tier

    def end(self, error: BaseException | None = None) -> None:
        """The stream has ended: of itself, with an error, or closed before its end."""
        if self.has_ended:
            return
        self.has_ended, self.error = True, error or self._reader.failure
        if self._reader.doubt is not None:  # once, however many events have it
            self._opened.pipeline.failed("record_stream", self._reader.doubt)
        if self._call.is_unmetered:
            self._call.unread = Unread(clean_label(self.kind), ADVICE_STREAM)
        if self.block_is_left:
            self._opened.end(self.error)

    def close(self) -> None:
        """The stream is read no further."""
        self.end(GeneratorExit())


class _Proxy:
    """What streams have in common whether they are awaited or not: all but how they are read."""

    __slots__ = ("__weakref__", "_iterator_", "_manager_", "_progress_", "_stream_")

    def __init__(self, stream: Any, progress: Progress) -> None:
        self._stream_ = self._manager_ = stream
        self._progress_ = progress
        self._iterator_: Any = None

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in _Proxy.__slots__:  # asked for by copy and pickle
            raise AttributeError(name)
        found = getattr(self._stream_, name)
        if name in _READ_TO_THE_END:
            return partial(self._read_on, found)
        if name in ("close", "aclose"):
            return partial(self._close, found)
        return self._texts() if name == "text_stream" else found

    def _begin(self, iterate: Callable[[Any], Any], step: str) -> Any:
        # Streams that can be asked for the next event themselves make a generator to iterate.
        stream = self._stream_
        return stream if class_has(stream, step) else iterate(stream)

    def _read_on(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError

    def _texts(self) -> Any:
        raise NotImplementedError

    def _close(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._progress_.close()
        return method(*args, **kwargs)

    def _leave(self, error: BaseException | None) -> None:
        if error is None:
            self._progress_.close()
        else:
            self._progress_.end(error)


class RecordedStream(_Proxy):
    """A stream that is read with ``for``; all else is its own.

    With the helpers that SDKs have for streams, what they return is entered here.
    """

    __slots__ = ()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            if self._iterator_ is None:
                self._iterator_ = self._begin(iter, "__next__")
            event = next(self._iterator_)
        except StopIteration:
            self._progress_.end()
            raise
        except BaseException as error:
            self._progress_.end(error)
            raise
        self._progress_.read(event)
        return event

    def __enter__(self) -> Self:
        try:
            self._stream_ = self._manager_.__enter__()
        except BaseException as error:  # a helper's request is made now
            self._progress_.end(error)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        self._leave(error)
        return self._manager_.__exit__(kind, error, traceback)

    def _read_on(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        for _ in self:
            pass
        return method(*args, **kwargs)

    def _texts(self) -> Iterator[str]:
        return (text for text in map(text_of, self) if text is not None)


class RecordedAsyncStream(_Proxy):
    """A stream that is read with ``async for``; all else is its own."""

    __slots__ = ()

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            if self._iterator_ is None:
                self._iterator_ = self._begin(aiter, "__anext__")
            event = await anext(self._iterator_)
        except StopAsyncIteration:
            self._progress_.end()
            raise
        except BaseException as error:
            self._progress_.end(error)
            raise
        self._progress_.read(event)
        return event

    async def __aenter__(self) -> Self:
        try:
            self._stream_ = await self._manager_.__aenter__()
        except BaseException as error:  # a helper's request is made now
            self._progress_.end(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> Any:
        self._leave(error)
        return await self._manager_.__aexit__(kind, error, traceback)

    async def _read_on(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        async for _ in self:
            pass
        return await method(*args, **kwargs)

    async def _texts(self) -> AsyncIterator[str]:
        async for event in self:
            text = text_of(event)
            if text is not None:
                yield text


def recorded_stream(stream: Any, progress: Progress) -> RecordedStream | RecordedAsyncStream:
    """The proxy of a stream, or of a helper that opens one.

    Raises ``TypeError`` for anything else.
    """
    if not issubclass(type(stream), str | bytes) and not _is_mapping(stream):
        if class_has(stream, "__aiter__"):
            return RecordedAsyncStream(stream, progress)
        if class_has(stream, "__iter__") or class_has(stream, "__next__"):
            return RecordedStream(stream, progress)
        if class_has(stream, "__aenter__"):
            return RecordedAsyncStream(stream, progress)
        if class_has(stream, "__enter__"):
            return RecordedStream(stream, progress)
    raise TypeError(f"record_stream() takes a stream, not {class_name(stream)}: {_instead(stream)}")


def is_stream(response: object) -> bool:
    """Whether it is something that is still to be read, not a response."""
    return class_has(response, "__next__") or class_has(response, "__aiter__")


def _is_mapping(stream: object) -> bool:
    try:
        return issubclass(type(stream), Mapping)
    except Exception:  # somebody's own class of classes
        return False


def _instead(stream: object) -> str:
    if class_has(stream, "__await__"):
        return "await it first"
    if _is_mapping(stream):
        return 'of what boto3 returns, pass response["stream"] or response["body"]'
    return "pass a whole response to record_response()"
