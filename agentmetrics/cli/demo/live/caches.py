"""Questions that come again: LangChain's cache for the answers, and the program's own for pages."""

from __future__ import annotations

import random
from collections import OrderedDict

from langchain_core.caches import InMemoryCache

from agentmetrics import CacheTracker, InstrumentedCache
from agentmetrics.cli.demo.live.scene import Scene, Setting, ask

_QUESTIONS = tuple(f"What does metric {number} say?" for number in range(12))
_WEIGHTS = tuple(1 / number for number in range(1, 13))
"""A few questions are asked again and again, and most are rare."""


class Pages:
    """The pages read last, eight at most."""

    _MOST = 8

    def __init__(self) -> None:
        self._pages: OrderedDict[str, str] = OrderedDict()
        self._tracker = CacheTracker(
            "pages", entries=lambda: len(self._pages), size_bytes=lambda: sum(self._sizes())
        )

    def _sizes(self) -> list[int]:
        return [len(page.encode()) for page in self._pages.copy().values()]

    def page(self, title: str) -> str:
        """The page with this title, from the cache or made."""
        found = self._pages.get(title)
        if found is not None:
            self._tracker.hit()
            self._pages.move_to_end(title)
            return found
        self._tracker.miss()
        made = self._pages[title] = f"{title} " * (20 + len(title) * 3)
        if len(self._pages) > self._MOST:
            self._pages.popitem(last=False)
            self._tracker.evicted()
        return made


def scenes(setting: Setting) -> list[Scene]:
    """Questions, of which a few are asked again and again."""
    answers = InstrumentedCache(InMemoryCache(maxsize=6), "answers")
    concierge = setting.agent("concierge", setting.model("gpt-4o-mini", cache=answers))
    pages = Pages()

    async def answer(chance: random.Random) -> None:
        (question,) = chance.choices(_QUESTIONS, _WEIGHTS)
        pages.page(question)
        await ask(concierge, question)

    return [Scene("a question is asked that may be in the cache", answer, every=1.5, first=0.5)]
