"""Calls without LangChain, by OpenAI's SDK in an agent of one's own; one run of it takes long."""

from __future__ import annotations

import random
from contextlib import suppress

from openai import APIError, AsyncOpenAI

from agentmetrics import InstrumentedAgent
from agentmetrics.cli.demo.live.scene import Scene, Setting

_LONG_RUN_CALLS = 20
_LONG_RUN_PAUSE_SECONDS = 3.0


class Archivist(InstrumentedAgent):
    """Sums files up with DeepSeek's model, whose API is OpenAI's."""

    agent_name = "archivist"

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._client = AsyncOpenAI(base_url=setting.server.base_url, api_key="demo", max_retries=0)

    async def run(self, files: list[str], pause_seconds: float = 0.0) -> None:
        """Sum up one file after the other, until it is over; those that fail are passed over."""
        for file in files:
            with suppress(APIError):
                await self._sum_up(file)
            await self._setting.pause(pause_seconds)
            if self._setting.stopping.is_set():
                return

    async def _sum_up(self, file: str) -> None:
        with self.track_call("deepseek", "deepseek-chat") as call:
            response = await self._client.chat.completions.create(
                model="deepseek-chat",
                messages=[
                    {"role": "system", "content": "You are the archivist. Be brief."},
                    {"role": "user", "content": f"Sum up {file}"},
                ],
            )
            call.record_response(response)


def scenes(setting: Setting) -> list[Scene]:
    """Files that are summed up, one or all."""
    archivist = Archivist(setting)

    async def sum_up(chance: random.Random) -> None:
        await archivist.run([f"file {chance.randrange(30)}"])

    async def sum_up_all(chance: random.Random) -> None:
        files = [f"file {number}" for number in range(_LONG_RUN_CALLS)]
        await archivist.run(files, _LONG_RUN_PAUSE_SECONDS)

    return [
        Scene("a file is summed up", sum_up, every=5, first=2),
        Scene("a run takes a minute", sum_up_all, every=90, first=5),
    ]
