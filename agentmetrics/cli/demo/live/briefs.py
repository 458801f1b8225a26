"""The team of the five questions, with a subject of chance: retries, tools, reasoning."""

from __future__ import annotations

import random

from agentmetrics.cli.demo.live.scene import Scene, Setting
from agentmetrics.cli.demo.program import make_team, question

_SUBJECTS = ("token prices", "slow calls", "retries", "caches", "budgets", "streams")
_EDITIONS = 12


def scenes(setting: Setting) -> list[Scene]:
    """The team at work."""
    team = make_team(setting.server.base_url)

    async def write(chance: random.Random) -> None:
        subject = f"{chance.choice(_SUBJECTS)}, part {chance.randrange(_EDITIONS)}"
        await team.ainvoke(question(subject), setting.config)

    return [Scene("a team of three writes a brief", write, every=5, first=0)]
