"""The program's own cache: its lookups, puts and evictions, and what it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from agentmetrics.config.active import pipeline_for
from agentmetrics.meters.cache import CacheSeries
from agentmetrics.pipeline import Pipeline
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.amounts import amount
from agentmetrics.sources.surroundings import extra_here

Reading = Callable[[], float]
"""Reads a number of a cache; it is called at collection, from any thread, and should be quick."""


class CacheTracker:
    """Records what a cache does under ``cache_*{cache_type}``.

    ``entries`` and ``size_bytes`` read what the cache holds, for as long as the tracker lives;
    without them it is unknown. Trackers with the same ``cache_type`` add up. ``labels`` are extra
    labels of the cache itself, such as its tenant: they are on all of its metrics. Others have, at
    each lookup, put and eviction, the values of ``agentmetrics.labels`` and the run around.
    ``recorder`` defaults to the configured one. A deep copy is the same tracker. A failed reading
    is left out and increments ``agentmetrics_handler_errors_total``; the methods raise nothing.
    """

    def __init__(
        self,
        cache_type: str,
        *,
        labels: Mapping[str, str] | None = None,
        entries: Reading | None = None,
        size_bytes: Reading | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.cache_type = clean_label(cache_type)
        self.labels: Mapping[str, str] = dict(labels or {})
        self._entries, self._size_bytes = entries, size_bytes
        self._explicit = recorder
        self._pipeline: Pipeline | None = None
        self._follow()

    def __deepcopy__(self, memo: object) -> CacheTracker:
        return self  # what holds a tracker can be copied; the copy's look-ups count here, too

    def __reduce__(self) -> tuple[Any, ...]:
        # A recorder holds locks and sockets: in another process it is the configured one there.
        return (partial(type(self), labels=self.labels), (self.cache_type,))

    def _follow(self) -> Pipeline:
        pipeline = pipeline_for(self._explicit)
        if pipeline is not self._pipeline:  # the first time, or configure() was called since
            self._own = pipeline.caches.follow(self)
            self._pipeline = pipeline
        return pipeline

    def _now(self) -> CacheSeries:
        pipeline = self._follow()
        if not pipeline.extra_labels:
            return self._own
        return pipeline.caches.of_labels[(self.cache_type, extra_here(pipeline, self.labels))]

    def hit(self) -> None:
        """Record a lookup that the cache answered."""
        try:
            self._now().hit()
        except Exception as error:
            self.failed("cache_hit", error)

    def miss(self) -> None:
        """Record a lookup that the cache did not answer."""
        try:
            self._now().miss()
        except Exception as error:
            self.failed("cache_miss", error)

    def put(self, count: float = 1) -> None:
        """Record entries put into the cache, new ones and replaced ones."""
        try:
            self._now().put(amount(count))
        except Exception as error:
            self.failed("cache_put", error)

    def evicted(self, count: float = 1) -> None:
        """Record entries evicted to make room."""
        try:
            self._now().evicted(amount(count))
        except Exception as error:
            self.failed("cache_evicted", error)

    def entries(self) -> float | None:
        """How many entries it holds, if that is known."""
        return self._read(self._entries, "cache_entries")

    def size_bytes(self) -> float | None:
        """How many bytes it holds, if that is known."""
        return self._read(self._size_bytes, "cache_size_bytes")

    def _read(self, reading: Reading | None, event: str) -> float | None:
        if reading is None:
            return None
        try:
            return float(reading())
        except Exception as error:
            self.failed(event, error)
            return None

    def failed(self, event: str, error: Exception) -> None:
        """Count something that could not be recorded."""
        pipeline_for(self._explicit).failed(event, error)
