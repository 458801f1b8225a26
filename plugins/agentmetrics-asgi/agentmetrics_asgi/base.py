"""What the middlewares for ASGI and for WSGI have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from inspect import iscoroutinefunction
from typing import Any, TypeVar

import agentmetrics
from agentmetrics import ConfigurationError, Recorder
from agentmetrics.plugin import Instruments, Pipeline, pipeline_for
from agentmetrics_asgi.excluded import Excluded
from agentmetrics_asgi.meter import HTTPMeter

MARK = "agentmetrics.asgi"
"""Where a request says which pipelines count it already, by their ids; with a dot, as WSGI wants
it."""
EVENT = "http_request"
"""What ``agentmetrics_handler_errors_total`` counts what went wrong here under."""

M = TypeVar("M")
P = TypeVar("P")
_NOTHING = nullcontext()
LabelsOf = Callable[[Any], "Mapping[str, Any] | None"]


class Base:
    """The options of a middleware, and the meters of its recorder.

    Raises ``ConfigurationError`` for settings and options that cannot be used.
    """

    def __init__(
        self,
        recorder: Recorder | None,
        labels: LabelsOf | None,
        excluded: Iterable[str],
        metrics_path: str | None,
    ) -> None:
        if labels is not None and (not callable(labels) or iscoroutinefunction(labels)):
            wrong = "is a coroutine function" if callable(labels) else "cannot be called"
            raise ConfigurationError(
                f"labels={labels!r} {wrong}: pass a function of the request that returns its "
                "labels, as in labels=lambda request: {'tenant': 'acme'}"
            )
        if metrics_path is not None and not str(metrics_path).startswith("/"):
            raise ConfigurationError(
                f"metrics_path={metrics_path!r} is no path: write one that begins with '/', as in "
                "metrics_path='/metrics'"
            )
        self._recorder = recorder
        self._metrics_path = metrics_path
        self._labels = labels
        self._excluded = Excluded(excluded)
        self._pipeline = pipeline_for(recorder)
        self._meters: dict[Any, Any] = {}
        self._meter(self._pipeline, HTTPMeter)

    def _meter(self, pipeline: Pipeline, kind: Callable[[Instruments], M]) -> M | None:
        """The meter of a pipeline; ``None`` where something else has its names, which is logged."""
        if pipeline is not self._pipeline:  # another recorder was configured
            self._pipeline, self._meters = pipeline, {}
        if kind not in self._meters:
            try:
                self._meters[kind] = pipeline.meter(kind)
            except ValueError as problem:
                self._meters[kind] = None
                pipeline.failed(EVENT, problem)
        found: M | None = self._meters[kind]
        return found

    def failed(self, problem: Exception) -> None:
        """Count what went wrong in metrics: a request is never to hear of it."""
        try:
            pipeline_for(self._recorder).failed(EVENT, problem)
        except Exception:  # the settings cannot be used any more; whoever changed them was told
            return

    def _page(self, make: Callable[[Recorder | None], P]) -> P | str:
        """What answers with the metrics of the recorder in use, or a sentence why nothing does."""
        try:
            return make(self._recorder)
        except (ConfigurationError, ModuleNotFoundError) as problem:
            return str(problem)

    def _labelled(self, request: Any) -> AbstractContextManager[None]:
        """The user's labels of a request, for all that is recorded inside."""
        if self._labels is None:
            return _NOTHING
        try:
            values = self._labels(request)
            return agentmetrics.labels(**values) if values else _NOTHING
        except Exception as problem:
            self.failed(problem)
            return _NOTHING
