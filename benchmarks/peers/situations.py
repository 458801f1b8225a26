"""What no response shows: calls that are cancelled, left by their reader, answered by a cache."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

from benchmarks.peers.peer import Peer, Seen

TIMES = 20
USAGE = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}


class Model(BaseChatModel):
    """A model in this process: it answers, streams, or waits until it is cancelled."""

    waits: bool = False

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _get_ls_params(self, stop: Any = None, **_: Any) -> Any:
        return {"ls_provider": "openai", "ls_model_name": "gpt-4o", "ls_model_type": "chat"}

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        message = AIMessage("Everest", usage_metadata=USAGE)
        message.response_metadata = {"model_name": "gpt-4o"}
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, *args: Any, **kwargs: Any) -> Any:
        if self.waits:
            await asyncio.sleep(60)
        return self._generate(*args, **kwargs)

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> Any:
        for word in ("Mount", "Everest", "."):
            yield ChatGenerationChunk(message=AIMessageChunk(content=word))


def situations(peer: Peer) -> dict[str, str]:
    """What the peer reported of each situation, as text for the page."""
    found = {}
    for title, (run, tell) in SITUATIONS.items():
        callbacks = list(peer.watch())
        run({"callbacks": callbacks})
        gc.collect()
        found[title] = tell(peer, peer.seen())
    return found


def _cancelled(config: Any) -> None:
    async def run() -> None:
        for _ in range(TIMES):
            task = asyncio.create_task(Model(waits=True).ainvoke("x", config))
            await asyncio.sleep(0.001)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    asyncio.run(run())


def _cached(config: Any) -> None:
    model = Model(cache=InMemoryCache())
    for _ in range(TIMES):
        model.invoke("x", config)


def _left(config: Any) -> None:
    for _ in range(TIMES):
        reading: Iterator[Any] = Model().stream("x", config)
        next(reading)
        reading.close()  # type: ignore[attr-defined]


def _statuses(peer: Peer, seen: Sequence[Seen]) -> str:
    if "status" not in peer.fields:
        return "does not count calls"
    ended = Counter(call.status for call in seen)
    told = ", ".join(f"{number} {status}" for status, number in sorted(ended.items()))
    missing = TIMES - len(seen)
    return ", ".join(part for part in (told, f"{missing} never ended" if missing else "") if part)


def _billed(peer: Peer, seen: Sequence[Seen]) -> str:
    tokens = sum((call.input_tokens or 0) + (call.output_tokens or 0) for call in seen)
    return f"{tokens} tokens"


Run = Callable[[Any], None]
Tell = Callable[[Peer, Sequence[Seen]], str]
SITUATIONS: Mapping[str, tuple[Run, Tell]] = {
    f"{TIMES} cancelled `ainvoke`": (_cancelled, _statuses),
    f"{TIMES} streams that the reader closed": (_left, _statuses),
    f"1 call of 15 tokens and {TIMES - 1} answers from LangChain's cache": (_cached, _billed),
}
