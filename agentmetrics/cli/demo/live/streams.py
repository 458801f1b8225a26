"""Answers that stream: to the end, with a pause, into silence, to nobody, and without usage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import httpx

from agentmetrics.cli.demo import cues
from agentmetrics.cli.demo.live.scene import Agent, Scene, Setting, read

_SILENCE_SECONDS = 1.5
"""How long a program that is in a hurry waits for the next chunk."""


def scenes(setting: Setting) -> list[Scene]:
    """Answers that are read as they come, and ways in which that ends."""
    patience = httpx.Timeout(30, read=_SILENCE_SECONDS)
    guide = setting.agent("guide", setting.model("gpt-4o"))
    impatient = setting.agent("guide", setting.model("gpt-4o", timeout=patience))
    silent_about_usage = setting.agent("guide", setting.model("gpt-4o-mini", stream_usage=False))
    scribe = setting.agent("scribe", setting.model("gpt-audio"))

    def reads(agent: Agent, question: str) -> Callable[[random.Random], Awaitable[object]]:
        return lambda chance: read(agent, question)

    async def leave(chance: random.Random) -> None:
        begun = asyncio.Event()

        async def read_on() -> None:
            async for _ in guide.astream({"question": cues.GOES_ON_AND_ON}):
                begun.set()

        reading = asyncio.ensure_future(read_on())
        reading.add_done_callback(lambda ended: begun.set())
        await begun.wait()
        reading.cancel()
        # Gathered, as a cancelled reader is no cancellation of the one who asked.
        await asyncio.gather(reading, return_exceptions=True)

    return [
        Scene("an answer streams", reads(guide, "Explain gauges."), every=3, first=1),
        Scene("a stream pauses midway", reads(guide, cues.THINKS_MIDWAY), every=12, first=4),
        Scene("a stream falls silent", reads(impatient, cues.FALLS_SILENT), every=25, first=6),
        Scene("a reader leaves", leave, every=10, first=7),
        Scene("an answer is cut short", reads(guide, cues.CUT_SHORT), every=11, first=8),
        Scene("an answer is filtered", reads(guide, cues.FILTERED), every=14, first=9),
        Scene(
            "a stream tells no usage",
            reads(silent_about_usage, "Explain labels."),
            every=8,
            first=5,
        ),
        Scene("a dictation has audio tokens", reads(scribe, cues.DICTATED), every=10, first=10),
    ]
