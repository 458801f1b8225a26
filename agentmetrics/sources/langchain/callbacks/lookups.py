"""What a handler can know of a call's look-up in LangChain's LLM caches.

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

import weakref
from contextvars import ContextVar
from uuid import UUID

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.outputs import LLMResult

from agentmetrics.calls.facts import FOUND, MISSED, LLMCall, Lookup
from agentmetrics.calls.table import OpenTable

instrumented: set[weakref.ref[BaseCache]] = set()
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


def expect_lookup(table: OpenTable, run_id: UUID, batch_size: int) -> Lookup:
    """What an ``InstrumentedCache`` will say about a call that starts now, if it is asked."""
    generate = _generate.get()
    if generate is not None and generate.int == run_id.int:  # another handler was here
        return generate.lookups[-1]
    if generate is None or len(generate.lookups) >= generate.size or table.get(generate) is None:
        generate = _Generate(batch_size)  # the one before is full, or was broken off
        _generate.set(generate)
    generate.int = run_id.int
    generate.lookups.append(Lookup())
    return generate.lookups[-1]


def note_lookup(call: LLMCall, response: LLMResult) -> None:
    """Settle whether a call that succeeded was answered by a cache, or missed one."""
    asked, cache = call.lookup, get_llm_cache()
    if call.usage is None and _unmarked(asked, cache, response):
        call.lookup = FOUND
    elif not _tells_output(response):  # streamed past the cache
        call.lookup = None
    elif asked is not None and asked.found is not None:
        call.lookup = MISSED
    else:
        known = asked is not None and weakref.ref(cache) in instrumented if cache else False
        call.lookup = None if cache is None or known else MISSED


def _tells_output(response: LLMResult) -> bool:
    names = getattr(response, "model_fields_set", None)
    return type(names) is set and "llm_output" in names


def _unmarked(asked: Lookup | None, cache: BaseCache | None, response: LLMResult) -> bool:
    """Whether this is a cached answer that LangChain did not mark.

    It marks messages; a cache that keeps plain generations, as old ones do, has none, and they
    come back without the id that every message gets from the run that made it.
    """
    if asked is not None and asked.found is not None:
        return asked.found
    if cache is None:
        return False
    messages = (getattr(g, "message", None) for choices in response.generations for g in choices)
    message = next(messages, None)
    return message is not None and message.id is None


def next_lookup() -> Lookup:
    """The one that a handler left for the call that asks now; else one that nobody will read."""
    generate = _generate.get()
    return Lookup() if generate is None else generate.next()
