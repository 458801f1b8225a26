"""Live traffic of every kind that the metrics tell of: the scenes, each at its own gentle pace."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

import anyio
import httpx
import openai

from agentmetrics import BudgetExceeded
from agentmetrics.cli.demo.live import (
    approvals,
    archive,
    briefs,
    budgets,
    caches,
    failures,
    routes,
    streams,
    support,
)
from agentmetrics.cli.demo.live.scene import Scene, Setting
from agentmetrics.cli.demo.stage import Stage

KINDS: tuple[Callable[[Setting], list[Scene]], ...] = (
    briefs.scenes,  # a team: retries, tools, reasoning, the prompt cache
    support.scenes,  # Azure, a retriever, tools that are slow and that fail
    routes.scenes,  # model selection, fallbacks, savings
    caches.scenes,  # LangChain's cache and the program's own
    budgets.scenes,  # one budget that is nearly spent, one that blocks
    streams.scenes,  # slow, silent, left, cut short, without usage
    failures.scenes,  # every type of error
    approvals.scenes,  # interrupted runs, and errors of the program
    archive.scenes,  # calls without LangChain, and a run that takes long
)
_EXPECTED = (openai.OpenAIError, httpx.TimeoutException, asyncio.TimeoutError)
"""How scenes end that fail on purpose; the metrics tell of it."""


async def play(stage: Stage, stopping: asyncio.Event) -> None:
    """Play every scene again and again; each is played to its end when told to stop."""
    setting = Setting(stage.wire, stage.handler, stopping)
    async with anyio.create_task_group() as together:
        together.start_soon(_say_when_stopping, stage, stopping)
        for scenes in KINDS:
            for scene in scenes(setting):
                together.start_soon(_repeat, scene, setting, stage)
    await stage.wire.settled()


async def _say_when_stopping(stage: Stage, stopping: asyncio.Event) -> None:
    await stopping.wait()
    stage.progress.now("waiting for the calls under way")


async def _repeat(scene: Scene, setting: Setting, stage: Stage) -> None:
    chance = random.Random(scene.what)
    await setting.pause(scene.first)
    while not setting.stopping.is_set():
        stage.progress.now(scene.what)
        try:
            await scene.play(chance)
        except BudgetExceeded as refused:
            stage.refused[str(refused)] += 1
        except _EXPECTED:
            pass
        await setting.pause(scene.every * chance.uniform(0.8, 1.2))
