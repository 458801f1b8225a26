"""InstrumentedCache: any LangChain LLM cache, with its lookups counted."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.outputs import Generation

from agentmetrics.calls.facts import Lookup
from agentmetrics.recording.fork import ForkSafeLock
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.caches import CacheTracker, Reading
from agentmetrics.sources.langchain.callbacks.lookups import instrumented, next_lookup

Answer = Sequence[Generation]


class InstrumentedCache(BaseCache):
    """Any LangChain LLM cache, with its lookups counted under ``cache_*{cache_type}``.

    Pass it to ``set_llm_cache`` or to a model as ``cache``; ``llm_cache_misses_total`` is then
    exact for calls seen by a handler. ``entries`` and ``size_bytes`` read how much the cache holds,
    ``evictions`` how many entries it has evicted so far (read after each update); for an
    ``InMemoryCache``, entries and evictions are known without them. ``labels`` are extra labels of
    the cache itself, as for ``CacheTracker``. ``recorder`` defaults to the configured one.
    Exceptions from the cache propagate, and count as neither a hit nor a miss. A copy has no
    readings; a deep copy also copies the cache.
    """

    def __init__(
        self,
        cache: BaseCache,
        cache_type: str = "llm",
        recorder: Recorder | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        entries: Reading | None = None,
        size_bytes: Reading | None = None,
        evictions: Reading | None = None,
    ) -> None:
        self.cache = cache
        self._recorder = recorder
        self._memory = _Memory(cache) if type(cache) is InMemoryCache else None
        if self._memory is not None:
            entries = entries or self._memory.entries
            evictions = evictions or self._memory.evictions
        self._tracker = CacheTracker(
            cache_type, labels=labels, entries=entries, size_bytes=size_bytes, recorder=recorder
        )
        self._evictions = _Rise(evictions) if evictions is not None else None
        instrumented.add(weakref.ref(self, instrumented.discard))

    def __copy__(self) -> InstrumentedCache:
        return self._around(self.cache)

    def __deepcopy__(self, memo: dict[int, Any]) -> InstrumentedCache:
        return self._around(deepcopy(self.cache, memo))

    def _around(self, cache: BaseCache) -> InstrumentedCache:
        known = self._tracker
        return type(self)(cache, known.cache_type, self._recorder, labels=known.labels)

    def __reduce__(self) -> tuple[Any, ...]:
        # A recorder holds locks and sockets: in another process it is the configured one there.
        made = partial(type(self), labels=self._tracker.labels)
        return (made, (self.cache, self._tracker.cache_type))

    def lookup(self, prompt: str, llm_string: str) -> Answer | None:
        asked = next_lookup()
        return self._answered(asked, self.cache.lookup(prompt, llm_string))

    async def alookup(self, prompt: str, llm_string: str) -> Answer | None:
        asked = next_lookup()
        return self._answered(asked, await self.cache.alookup(prompt, llm_string))

    def _answered(self, asked: Lookup, answer: Answer | None) -> Answer | None:
        asked.found = issubclass(
            type(answer), list
        )  # anything else is no answer to LangChain, either
        if asked.found:
            self._tracker.hit()
        else:
            self._tracker.miss()
        return answer

    def update(self, prompt: str, llm_string: str, return_val: Answer) -> None:
        (self._memory or self.cache).update(prompt, llm_string, return_val)
        self._count_put()

    async def aupdate(self, prompt: str, llm_string: str, return_val: Answer) -> None:
        if self._memory is not None:  # whose aupdate is its update
            self._memory.update(prompt, llm_string, return_val)
        else:
            await self.cache.aupdate(prompt, llm_string, return_val)
        self._count_put()

    def _count_put(self) -> None:
        self._tracker.put()
        if self._evictions is not None:
            try:
                self._tracker.evicted(self._evictions.since_last())
            except Exception as error:
                self._tracker.failed("cache_evictions", error)

    def clear(self, **kwargs: Any) -> None:
        self.cache.clear(**kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        await self.cache.aclear(**kwargs)


class _Memory:
    """LangChain's cache in memory, with a count of what it let go; it keeps none itself."""

    def __init__(self, cache: InMemoryCache) -> None:
        self._cache = cache
        self._let_go = 0
        self._lock = ForkSafeLock()

    def update(self, prompt: str, llm_string: str, answer: Answer) -> None:
        with self._lock:
            held = self._cache._cache
            expected = len(held) + ((prompt, llm_string) not in held)
            self._cache.update(prompt, llm_string, answer)
            if self._cache._cache is held:  # not cleared meanwhile
                self._let_go += expected - len(held)

    def entries(self) -> float:
        return len(self._cache._cache)

    def evictions(self) -> float:
        return self._let_go


class _Rise:
    """How much a number that only rises has risen since it was last asked for."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._last = reading()
        self._lock = ForkSafeLock()

    def since_last(self) -> float:
        with self._lock:
            now = self._reading()
            risen, self._last = now - self._last, now
        return max(risen, 0.0)  # it was started anew
