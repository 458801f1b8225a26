"""Calls that fail: a question for every type of error, between others that are answered."""

from __future__ import annotations

import itertools
import random

import httpx

from agentmetrics.cli.demo import cues
from agentmetrics.cli.demo.live.scene import Scene, Setting, ask
from agentmetrics.cli.demo.wire import REVOKED_KEY

_QUESTIONS = (
    cues.IN_A_RUSH,
    cues.AT_A_BAD_TIME,
    cues.EVERYTHING_AT_ONCE,
    cues.FORBIDDEN,
    cues.NEVER_ANSWERED,
    cues.NO_SUCH_OPTION,
)
_TIMEOUT_SECONDS = 1.0


def scenes(setting: Setting) -> list[Scene]:
    """Audits, of which some fail."""
    patience = httpx.Timeout(30, read=_TIMEOUT_SECONDS)
    auditor = setting.agent("auditor", setting.model("gpt-4o-mini"))
    impatient = setting.agent("auditor", setting.model("gpt-4o-mini", timeout=patience))
    locked_out = setting.agent("auditor", setting.model("gpt-4o-mini", api_key=REVOKED_KEY))
    questions = itertools.cycle(_QUESTIONS)

    async def audit(chance: random.Random) -> None:
        await ask(auditor, f"What was spent on day {chance.randrange(1, 29)}?")

    async def fail(chance: random.Random) -> None:
        question = next(questions)
        await ask(impatient if question == cues.NEVER_ANSWERED else auditor, question)

    async def knock(chance: random.Random) -> None:
        await ask(locked_out, "What was spent today?")

    return [
        Scene("an audit is answered", audit, every=2, first=1.5),
        Scene("an audit fails", fail, every=4, first=2.5),
        Scene("an audit has a revoked key", knock, every=24, first=12),
    ]
