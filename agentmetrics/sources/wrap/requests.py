"""A request that a client makes, as a call: it ends with its answer, or with its stream."""

from __future__ import annotations

import json
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, NamedTuple

from agentmetrics.calls.facts import UNKNOWN, Ceiling
from agentmetrics.config.active import pipeline_for
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.ceiling import ceiling_of_body
from agentmetrics.sources.seen import is_seen
from agentmetrics.sources.track import track_call

if TYPE_CHECKING:
    from agentmetrics.pipeline import Pipeline

_EVENT = "wrap"


class Asked(NamedTuple):
    """What a request asks for: of which provider, which model, and all that is sent."""

    provider: str
    model: object
    sent: object = None


_NOT_UNDERSTOOD = Asked(UNKNOWN, UNKNOWN)


class Recording:
    """How the requests of one client are recorded."""

    def __init__(self, agent_name: str | None, recorder: Recorder | None) -> None:
        self.agent_name, self.recorder = agent_name, recorder
        self.pipeline()  # settings that cannot be used stop the program now

    def pipeline(self) -> Pipeline:
        """The pipeline of the recorder; without one, of that which is configured by now."""
        return pipeline_for(self.recorder)

    def is_like(self, other: Recording) -> bool:
        """Whether both record in the same place under the same name."""
        return self.agent_name == other.agent_name and self.recorder is other.recorder

    def begin(self, read: Callable[[], Asked | None]) -> Request | None:
        """Open the call that a request is, by what ``read`` says of it.

        ``None`` where it is no call of a model, or part of one that is recorded already. Raises
        ``BudgetExceeded`` when a budget refuses it.
        """
        pipeline = self.pipeline()
        if is_seen(pipeline):
            return None
        try:
            asked = read()
        except Exception as error:  # somebody's arguments in another shape: the SDK will say
            pipeline.failed(_EVENT, error)
            asked = _NOT_UNDERSTOOD
        if asked is None:
            return None
        request = Request(asked, self, pipeline)
        request.__enter__()
        return request


class Request(track_call):
    """One request that is open."""

    _is_noted = False

    def __init__(self, asked: Asked, recording: Recording, pipeline: Pipeline) -> None:
        model = asked.model if isinstance(asked.model, str) and asked.model else UNKNOWN
        super().__init__(
            asked.provider, model, agent_name=recording.agent_name, recorder=recording.recorder
        )
        self._sent = asked.sent

    def _most(self) -> Ceiling | None:
        return ceiling_of_body(self._sent) if isinstance(self._sent, Mapping) else None

    def end(self, error: BaseException | None = None) -> None:
        """It is over, as a success or as what ``error`` makes of it; once."""
        self.__exit__(None, error, None)

    def answered(self, response: object) -> None:
        """It is over, and this is the whole answer."""
        self.record_response(response)
        self.end()

    def misread(self, error: Exception) -> None:
        """Its answer could not be followed: the call counts, its tokens do not."""
        self._pipeline.failed(_EVENT, error)
        self.end()

    def reading(self, events: Iterator[Any]) -> Generator[Any, None, None]:
        """The events of its stream, at whose end it is over."""
        try:
            yield from self.record_stream(events)
        except BaseException as error:
            self.end(error)
            raise
        self.end()

    async def areading(self, events: AsyncIterator[Any]) -> AsyncGenerator[Any, None]:
        """``reading``, of a stream that is read in an event loop."""
        try:
            async for event in self.record_stream(events):
                yield event
        except BaseException as error:
            self.end(error)
            raise
        self.end()


Begin = Callable[[tuple[Any, ...], dict[str, Any]], "Request | None"]
Take = Callable[["Request", Any], Any]
