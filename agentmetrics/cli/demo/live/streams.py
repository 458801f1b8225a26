"""Answers that stream: to the end, with a pause, into silence, to nobody, and without usage."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from agentmetrics.cli.demo import cues
from agentmetrics.cli.demo.live.scene import Agent, Scene, Setting, read

_PATIENCE_SECONDS = 0.5
_SILENCE_SECONDS = 1.5
"""How long a program waits for the next chunk: more than the pause of a model that thinks."""


def scenes(setting: Setting) -> list[Scene]:
    guide = setting.agent("guide", setting.model("gpt-4o", timeout=_SILENCE_SECONDS))
    silent_about_usage = setting.agent("guide", setting.model("gpt-4o-mini", stream_usage=False))
    scribe = setting.agent("scribe", setting.model("gpt-audio"))

    def reads(agent: Agent, question: str) -> Callable[[random.Random], Awaitable[object]]:
        return lambda chance: read(agent, question)

    async def leave(chance: random.Random) -> None:
        await asyncio.wait_for(read(guide, cues.GOES_ON_AND_ON), _PATIENCE_SECONDS)

    return [
        Scene("an answer streams", reads(guide, "Explain gauges."), every=3, first=1),
        Scene("a stream pauses midway", reads(guide, cues.THINKS_MIDWAY), every=12, first=4),
        Scene("a stream falls silent", reads(guide, cues.FALLS_SILENT), every=25, first=6),
        Scene("a reader leaves", leave, every=10, first=7),
        Scene("an answer is cut short", reads(guide, cues.CUT_SHORT), every=11, first=8),
        Scene("an answer is filtered", reads(guide, cues.FILTERED), every=14, first=9),
        Scene("a stream tells no usage", reads(silent_about_usage, "Explain labels."), 8, 5),
        Scene("a dictation has audio tokens", reads(scribe, cues.DICTATED), every=10, first=10),
    ]
