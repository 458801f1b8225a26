"""LangChain's LLM caches: InstrumentedCache, and what a handler can know of a call's look-up.

A chat model asks its cache after ``on_chat_model_start`` and says nothing of it. An answer from
the cache comes with ``total_cost: 0`` in its usage, on every path; so does the answer that was
put there, where somebody else found it before its own end was told, but its id names its run.

A miss says nothing at all, and whether a model has a cache of its own, or none by
``cache=False``, is in no event: langchain-core leaves that field out. So

- an ``InstrumentedCache`` knows: the handler leaves a ``Lookup`` where the cache, which is asked
  in the same context or a copy of it, finds it. Exact, failed and cancelled calls included;
- with a global cache of another class, a call that succeeded is a miss unless it streamed past the
  cache: only ``generate`` says ``llm_output`` in its result. Models that have ``cache=False`` are
  wrongly among these, and calls that failed are not;
- of a model's own cache of another class only the hits are known.

A text model asks before its first event, and a hit has none: there is no call. Only the cache
can count it. Its misses are known by the second rule alone, whichever class the cache is of.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextvars import ContextVar
from copy import deepcopy
from typing import Any
from uuid import UUID

from langchain_core.caches import BaseCache, InMemoryCache
from langchain_core.globals import get_llm_cache
from langchain_core.outputs import Generation, LLMResult

from agentmetrics.calls.facts import FOUND, MISSED, LLMCall, Lookup
from agentmetrics.calls.table import OpenCalls
from agentmetrics.recording.recorder import Recorder
from agentmetrics.sources.caches import CacheTracker, Reading

Answer = Sequence[Generation]

instrumented: set[weakref.ref[InstrumentedCache]] = set()
"""The caches that are there; without one, nobody leaves or looks for a ``Lookup``."""


class _Generate:
    """What the calls of one ``generate`` will learn: they ask the cache in the order they began.

    ``int`` is the number of the one that began last.
    """

    __slots__ = ("asked", "int", "lookups", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.int = 0
        self.lookups: list[Lookup] = []
        self.asked = 0

    def next(self) -> Lookup:
        if self.asked >= len(self.lookups):
            return Lookup()
        self.asked += 1
        return self.lookups[self.asked - 1]


_generate: ContextVar[_Generate | None] = ContextVar("agentmetrics_generate", default=None)


def expect_lookup(calls: OpenCalls, run_id: UUID, batch_size: int) -> Lookup:
    """What an ``InstrumentedCache`` will say about a call that starts now, if it is asked."""
    generate = _generate.get()
    if generate is not None and generate.int == run_id.int:  # another handler was here
        return generate.lookups[-1]
    if generate is None or len(generate.lookups) >= generate.size or calls.get(generate) is None:
        generate = _Generate(batch_size)  # the one before is full, or was broken off
        _generate.set(generate)
    generate.int = run_id.int
    generate.lookups.append(Lookup())
    return generate.lookups[-1]


def note_lookup(call: LLMCall, response: LLMResult) -> None:
    """Settle whether a call that succeeded was answered by a cache, or missed one."""
    told, cache = call.lookup, get_llm_cache()
    if call.usage is None and _unmarked(told, cache, response):
        call.lookup = FOUND
    elif "llm_output" not in response.model_fields_set:  # it streamed past the cache
        call.lookup = None
    elif told is not None and told.found is not None:
        call.lookup = MISSED
    else:
        known = told is not None and isinstance(cache, InstrumentedCache)
        call.lookup = None if cache is None or known else MISSED


def _unmarked(told: Lookup | None, cache: BaseCache | None, response: LLMResult) -> bool:
    """Whether this is a cached answer that LangChain did not mark.

    It marks messages; a cache that keeps plain generations, as old ones do, has none, and they
    come back without the id that every message gets from the run that made it.
    """
    if told is not None and told.found is not None:
        return told.found
    if cache is None:
        return False
    messages = (getattr(g, "message", None) for choices in response.generations for g in choices)
    message = next(messages, None)
    return message is not None and message.id is None


class InstrumentedCache(BaseCache):
    """Any LLM cache of LangChain's, with its look-ups counted under ``cache_*{cache_type}``.

    Give it to ``set_llm_cache`` or to a model in the place of ``cache``; calls that a handler
    sees then raise ``llm_cache_misses_total`` exactly. ``entries`` and ``size_bytes`` read how
    much the cache holds, ``evictions`` how many entries it has let go so far (asked after each
    update); of an ``InMemoryCache`` entries and evictions are known without. ``recorder`` is by
    default the configured one. What the cache raises passes on, and is neither a hit nor a miss.
    A copy has no readings; a deep copy takes a copy of the cache with it.
    """

    def __init__(
        self,
        cache: BaseCache,
        cache_type: str = "llm",
        recorder: Recorder | None = None,
        *,
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
            cache_type, entries=entries, size_bytes=size_bytes, recorder=recorder
        )
        self._evictions = _Rise(evictions) if evictions is not None else None
        instrumented.add(weakref.ref(self, instrumented.discard))

    def __copy__(self) -> InstrumentedCache:
        return type(self)(self.cache, self._tracker.cache_type, self._recorder)

    def __deepcopy__(self, memo: dict[int, Any]) -> InstrumentedCache:
        return type(self)(deepcopy(self.cache, memo), self._tracker.cache_type, self._recorder)

    def __reduce__(self) -> tuple[Any, ...]:
        # A recorder holds locks and sockets: in another process it is the configured one there.
        return (type(self), (self.cache, self._tracker.cache_type))

    def lookup(self, prompt: str, llm_string: str) -> Answer | None:
        asked = _next_lookup()
        return self._answered(asked, self.cache.lookup(prompt, llm_string))

    async def alookup(self, prompt: str, llm_string: str) -> Answer | None:
        asked = _next_lookup()
        return self._answered(asked, await self.cache.alookup(prompt, llm_string))

    def _answered(self, asked: Lookup, answer: Answer | None) -> Answer | None:
        asked.found = isinstance(answer, list)  # anything else is no answer to LangChain, either
        if asked.found:
            self._tracker.hit()
        else:
            self._tracker.miss()
        return answer

    def update(self, prompt: str, llm_string: str, return_val: Answer) -> None:
        (self._memory or self.cache).update(prompt, llm_string, return_val)
        self._count_evictions()

    async def aupdate(self, prompt: str, llm_string: str, return_val: Answer) -> None:
        if self._memory is not None:  # whose aupdate is its update
            self._memory.update(prompt, llm_string, return_val)
        else:
            await self.cache.aupdate(prompt, llm_string, return_val)
        self._count_evictions()

    def _count_evictions(self) -> None:
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
        self._lock = threading.Lock()

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
        self._lock = threading.Lock()

    def since_last(self) -> float:
        with self._lock:
            now = self._reading()
            risen, self._last = now - self._last, now
        return max(risen, 0.0)  # it was started anew


def _next_lookup() -> Lookup:
    """The one that a handler left for the call that asks now; else one that nobody will read."""
    generate = _generate.get()
    return Lookup() if generate is None else generate.next()
