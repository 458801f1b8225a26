"""A request that a client makes, as a call: it ends with its answer, or with its stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from agentmetrics.calls.facts import UNKNOWN, Ceiling
from agentmetrics.config.active import pipeline_for
from agentmetrics.errors import BudgetExceeded
from agentmetrics.pipeline import Pipeline
from agentmetrics.pricing.places import is_listed
from agentmetrics.recording.metric import class_name, clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.ceiling import ceiling_of_body
from agentmetrics.sources.seen import is_seen
from agentmetrics.sources.streams import Progress
from agentmetrics.sources.track import track_call

S = TypeVar("S")

_EVENT = "wrap"


class Asked(NamedTuple):
    """What a request asks for: of which provider, which model, and all that is sent, or what tells
    it. ``speaks`` is whether the model answers in tokens, as one for embeddings does not."""

    provider: str
    model: object
    sent: object = None
    speaks: bool = True


_NOT_UNDERSTOOD = Asked(UNKNOWN, UNKNOWN)


class Recording:
    """How the requests of one client are recorded; ``place`` is the region that it speaks to."""

    def __init__(
        self, agent_name: str | None, provider: str | None, recorder: Recorder | None
    ) -> None:
        self.agent_name, self.provider, self.recorder = agent_name, provider, recorder
        self.place = ""
        self.pipeline()  # settings that cannot be used stop the program now

    def pipeline(self) -> Pipeline:
        """The pipeline of the recorder; without one, of that which is configured by now."""
        return pipeline_for(self.recorder)

    def is_like(self, other: Recording) -> bool:
        """Whether both record in the same place under the same names."""
        names = self.agent_name, self.provider
        return names == (other.agent_name, other.provider) and self.recorder is other.recorder

    def begin(
        self, read: Callable[..., Asked | None], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Request | None:
        """Open the call that a request is, by what ``read`` says of its arguments.

        ``None`` where it is no call of a model, or part of one that is recorded already. Raises
        ``BudgetExceeded`` when a budget refuses it.
        """
        pipeline = self.pipeline()
        if is_seen(pipeline):
            return None
        try:
            asked = read(*args, **kwargs)
        except Exception as error:  # somebody's arguments in another shape: the SDK will say
            pipeline.failed(_EVENT, error)
            asked = _NOT_UNDERSTOOD
        if asked is None:
            return None
        try:
            request = Request(asked, self, pipeline)
            request.open()
        except BudgetExceeded:
            raise
        except Exception as error:  # the program's call is made all the same
            pipeline.failed(_EVENT, error)
            return None
        return request


class Request(track_call):
    """One request that is open."""

    _followed: Progress | None = None

    def __init__(self, asked: Asked, recording: Recording, pipeline: Pipeline) -> None:
        self._asked = asked
        model = (clean_label(asked.model) if isinstance(asked.model, str) else "") or UNKNOWN
        provider = recording.provider or asked.provider
        self._place(pipeline, recording.agent_name, provider, model)
        if not is_listed(provider, recording.place):
            self._call.place = recording.place

    def _most(self) -> Ceiling | None:
        sent = self._asked.sent
        body = sent() if callable(sent) else sent
        return ceiling_of_body(body, self._asked.speaks) if isinstance(body, Mapping) else None

    def open(self) -> None:
        """It is made now. Raises ``BudgetExceeded`` when a budget refuses it."""
        self._open()

    def end(self, error: BaseException | None = None) -> None:
        """It is over, as a success or as what ``error`` makes of it; once."""
        self.__exit__(None, error, None)

    def answered(self, response: object) -> None:
        """It is over, and this is the whole answer."""
        self.record_response(response)
        self.__exit__(None, None, None)

    def misread(self, error: Exception) -> None:
        """Its answer could not be followed: the call counts, its tokens do not."""
        self._pipeline.failed(_EVENT, error)
        self.end()

    def follow(self, events: S, stream: object = None) -> S:
        """The events of its ``stream``, to be read in place of these: it is over when they are."""
        recorded = self.record_stream(events)
        self._followed = self._progress
        if stream is not None and self._progress is not None:
            self._progress.kind = class_name(stream)  # which a warning names
        self.end()
        return recorded

    def close(self) -> None:
        """Its stream is read no further."""
        if self._followed is not None:
            self._followed.close()
