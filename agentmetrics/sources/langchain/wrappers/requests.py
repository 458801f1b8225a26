"""Requests of an object that has no callbacks, an embeddings' or a reranker's, as calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from inspect import isawaitable
from time import perf_counter
from typing import Any

from agentmetrics.calls.facts import Ceiling, LLMCall, Unread
from agentmetrics.calls.table import OwnRunId
from agentmetrics.config.active import pipeline_for
from agentmetrics.errors import BudgetExceeded
from agentmetrics.pipeline import CeilingOf, Pipeline
from agentmetrics.providers.blocks import served_model
from agentmetrics.providers.timing import provider_seconds
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.langchain.wrappers.clients import Requests, watched_copy
from agentmetrics.sources.langchain.wrappers.naming import model_of, provider_of
from agentmetrics.sources.seen import note
from agentmetrics.sources.surroundings import call_here

_ADVICE = "if they are billed by token, record them with track_call() and record_usage()"


class RequestSource:
    """One object that asks a provider, and the calls that its requests are.

    Where the provider's package is known (``packages``), each request to its SDK is a call, in
    whatever method it is made; else each use of a method through ``ask`` is one.
    """

    def __init__(
        self,
        wrapped: Any,
        task_type: str,
        packages: Mapping[str, Requests],
        agent_name: str | None,
        recorder: Recorder | None,
        provider: str | None,
        model: str | None,
    ) -> None:
        self.wrapped = wrapped
        self._task_type, self._packages = task_type, packages
        self._agent_name, self._recorder = clean_label(agent_name) or None, recorder
        self._given = clean_label(provider), clean_label(model)
        self._provider = self._given[0] or provider_of(wrapped)
        self._model = self._given[1] or model_of(wrapped)
        self._pipeline()  # settings that cannot be used stop the program now
        watched = watched_copy(wrapped, packages, self._follow)
        self._is_watched = watched is not None
        self.target: Any = watched if self._is_watched else wrapped
        """What does the work: the wrapped object, or a copy whose requests are seen."""

    def __deepcopy__(self, memo: object) -> RequestSource:
        return self  # a copied chain goes on recording in the same place

    def __reduce__(self) -> tuple[Any, ...]:
        # A recorder holds locks and sockets: in another process it is the configured one there.
        given = (self._agent_name, None, *self._given)
        return (type(self), (self.wrapped, self._task_type, self._packages, *given))

    def ask(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the wrapped object, sync or async."""
        asked = getattr(self.target, method)
        if self._is_watched:
            return asked(*args, **kwargs)
        return self._follow(asked, *args, **kwargs)

    def _pipeline(self) -> Pipeline:
        return pipeline_for(self._recorder)

    def _follow(self, request: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        # No tokenizer makes more tokens of a text than it has bytes.
        followed = self._begin(lambda: Ceiling(len(repr((args, kwargs)).encode()), 0))
        try:
            response = request(*args, **kwargs)
        except BaseException as error:
            followed.end(error)
            raise
        if _is_awaitable(response):
            return _awaited(followed, response)
        followed.answered(response)
        return response

    def _begin(self, ceiling: CeilingOf) -> _Request:
        pipeline = self._pipeline()
        task = {"task_type": self._task_type}
        call = call_here(pipeline, self._agent_name, self._provider, self._model, **task)
        return _Request(pipeline, call, ceiling, self._given[1])


class _Request:
    """One request that is open; a model that the user named is not that of the response.

    Raises ``BudgetExceeded`` when a budget refuses it.
    """

    def __init__(
        self, pipeline: Pipeline, call: LLMCall, ceiling: CeilingOf, given_model: str
    ) -> None:
        self._pipeline, self._call, self._given_model = pipeline, call, given_model
        self._run_id = OwnRunId()
        note(self._run_id)
        call.started = perf_counter()
        try:
            pipeline.open_call(self._run_id, call, ceiling)
        except BudgetExceeded:
            raise
        except Exception as error:
            pipeline.failed("request", error)

    def answered(self, response: Any) -> None:
        """There is a response: a client of bare HTTP gives those that refuse, too."""
        refusal: Exception | None = None
        try:
            if hasattr(response, "raise_for_status"):
                refusal = _refusal(response)
                response = None if refusal else _parsed(response)
            self._read(response)
        except Exception as error:  # the call counts, its tokens do not
            self._pipeline.failed("response", error)
        if self._call.is_unmetered:
            self._call.unread = Unread.of(response, _ADVICE)
        self.end(refusal)

    def _read(self, response: Any) -> None:
        call = self._call
        if not self._given_model:
            call.serve(served_model(response) or "")
        call.usage = Usage.from_embedding(response)
        call.api_seconds = provider_seconds(response)

    def end(self, error: BaseException | None) -> None:
        if self._pipeline.table.take(self._run_id) is not None:
            self._pipeline.finish(self._call, error)


def _refusal(response: Any) -> Exception | None:
    try:
        response.raise_for_status()
    except Exception as refusal:
        return refusal
    return None


def _parsed(response: Any) -> Any:
    """The body of an HTTP response, which keeps it for who asks next: vectors are long to parse."""
    body, parse = response.json(), response.json
    response.json = lambda **options: parse(**options) if options else body
    return body


def _is_awaitable(response: object) -> bool:
    try:
        return isawaitable(response)
    except Exception:  # somebody's own object: it has the answer
        return False


async def _awaited(followed: _Request, response: Awaitable[Any]) -> Any:
    try:
        answer = await response
    except BaseException as error:
        followed.end(error)
        raise
    followed.answered(answer)
    return answer
