"""Caches as metrics: look-ups, evictions, and what the caches hold, read at collection."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Protocol

from agentmetrics import catalog
from agentmetrics.calls.context import first_values
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.bundle import Bundles

Labels = tuple[str, ...]


class Cache(Protocol):
    """A cache as the meter knows it; ``None`` for what it does not know of itself.

    ``labels`` are extra labels of its own.
    """

    cache_type: str
    labels: Mapping[str, str]

    def entries(self) -> float | None: ...
    def size_bytes(self) -> float | None: ...


class CacheMeter:
    """The instruments of caches; those of one type add up."""

    def __init__(self, make: Instruments, extra_labels: tuple[str, ...]) -> None:
        self._extra_labels = extra_labels
        self.hits = make.counter(catalog.CACHE_HITS)
        self.misses = make.counter(catalog.CACHE_MISSES)
        self.evictions = make.counter(catalog.CACHE_EVICTIONS)
        self.puts = make.counter(catalog.CACHE_PUTS)
        self.step = make.recorder.update()
        self.of_labels: Bundles[CacheSeries] = Bundles(
            lambda cache_type, extra: CacheSeries(self, cache_type, extra)
        )
        self.lookups: Bundles[Lookups] = Bundles(lambda cache_type: Lookups())
        self._caches: weakref.WeakSet[Cache] = weakref.WeakSet()
        make.observe(catalog.CACHE_ENTRIES, self._entries)
        make.observe(catalog.CACHE_SIZE_BYTES, self._size_bytes)
        make.observe(catalog.CACHE_HIT_RATIO, self._hit_ratios)

    def follow(self, cache: Cache) -> CacheSeries:
        """Ask this cache at every collection what it holds, for as long as it lives."""
        with self.step:
            self._caches.add(cache)
        return self.of_labels[(cache.cache_type, self._extra(cache))]

    def _extra(self, cache: Cache) -> tuple[str, ...]:
        """The extra labels' values of what a cache holds: its own, else ``""``."""
        return first_values(self._extra_labels, (cache.labels,))

    def _entries(self) -> dict[Labels, float]:
        return self._sum(lambda cache: cache.entries())

    def _size_bytes(self) -> dict[Labels, float]:
        return self._sum(lambda cache: cache.size_bytes())

    def _sum(self, read: Callable[[Cache], float | None]) -> dict[Labels, float]:
        with self.step:
            caches = list(self._caches)
        sums: dict[Labels, float] = {}
        for cache in caches:
            value = read(cache)
            if value is not None:
                labels = (cache.cache_type, *self._extra(cache))
                sums[labels] = sums.get(labels, 0.0) + value
        return sums

    def _hit_ratios(self) -> dict[Labels, float]:
        types = list(self.lookups.items())
        return {labels: known.found / known.asked for labels, known in types if known.asked}


class Lookups:
    """The look-ups of one type of cache since the start, whatever their extra labels."""

    __slots__ = ("asked", "found")

    def __init__(self) -> None:
        self.found = self.asked = 0


class CacheSeries:
    """The series of one type of cache with the same extra labels."""

    __slots__ = ("_evictions", "_hits", "_lookups", "_misses", "_puts", "_step")

    def __init__(self, meter: CacheMeter, cache_type: str, extra: tuple[str, ...]) -> None:
        self._hits = meter.hits.labels(cache_type, *extra)
        self._misses = meter.misses.labels(cache_type, *extra)
        self._evictions = meter.evictions.labels(cache_type, *extra)
        self._puts = meter.puts.labels(cache_type, *extra)
        self._lookups = meter.lookups[(cache_type,)]
        self._step = meter.step

    def hit(self) -> None:
        with self._step:
            self._hits.inc()
            self._lookups.found += 1
            self._lookups.asked += 1

    def miss(self) -> None:
        with self._step:
            self._misses.inc()
            self._lookups.asked += 1

    def put(self, count: float) -> None:
        """Entries that came in; ``ValueError`` when ``count`` is negative or NaN."""
        self._puts.inc(count)

    def evicted(self, count: float) -> None:
        """Entries that had to go; ``ValueError`` when ``count`` is negative or NaN."""
        self._evictions.inc(count)
