"""A program that chooses its models: selections, savings, and fallbacks when one fails."""

from __future__ import annotations

import random

from agentmetrics import record_cost_savings, routing
from agentmetrics.cli.demo.cues import BUSY_TRANSLATOR
from agentmetrics.cli.demo.live.scene import Scene, Setting, ask

_SAVED_USD = 0.0004
"""What a short letter costs less in the small model, about."""
_LETTERS = 30


def scenes(setting: Setting) -> list[Scene]:
    """Letters for the small model, contracts for the large one."""
    small = setting.model("gpt-4.1-mini")
    large = setting.model("gpt-4.1").with_fallbacks([small])
    translators = {
        "small": setting.agent("translator", small),
        "large": setting.agent("translator", large, intent="contract"),
    }

    async def translate_letter(chance: random.Random) -> None:
        with routing("letter") as choice:
            choice.select("gpt-4.1-mini", "small")
        await ask(translators["small"], f"Translate letter {chance.randrange(_LETTERS)}")
        record_cost_savings("letter", _SAVED_USD)

    async def translate_contract(chance: random.Random) -> None:
        with routing("contract") as choice:
            choice.select("gpt-4.1", "large")
        busy = chance.random() < 0.3
        await ask(translators["large"], BUSY_TRANSLATOR if busy else "Translate a clause")

    return [
        Scene("a letter goes to the small model", translate_letter, every=3, first=2),
        Scene(
            "a contract goes to the large model, or falls back",
            translate_contract,
            every=4,
            first=3,
        ),
    ]
