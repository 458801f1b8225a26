"""Three budgets: one that is fine, one that is nearly spent, and one that blocks."""

from __future__ import annotations

import random

from agentmetrics import Budget, routing
from agentmetrics.cli.demo.live.scene import Scene, Setting, ask

FINE = Budget("plans", 25.0, "monthly", scope={"agent_name": "planner"}, thresholds=())
NEARLY_SPENT = Budget("digests", 0.004, "weekly", scope={"agent_name": "editor"}, thresholds=())
BLOCKS = Budget(
    "reviews", 0.002, "daily", scope={"agent_name": "reviewer"}, thresholds=(), action="block"
)
BUDGETS = (FINE, NEARLY_SPENT, BLOCKS)

_ENOUGH_PERCENT = 85.0


def scenes(setting: Setting) -> list[Scene]:
    """Digests and reviews, each with a budget."""
    editors = {
        model: setting.agent("editor", setting.model(model)) for model in ("gpt-4o", "house-model")
    }
    reviewer = setting.agent("reviewer", setting.model("gpt-4o"))

    async def write_digest(chance: random.Random) -> None:
        """Look at the budget first, and use a model of the house once it is nearly spent."""
        with routing("digest") as choice:
            spent = NEARLY_SPENT.status().percent >= _ENOUGH_PERCENT
            model, tier = ("house-model", "local") if spent else ("gpt-4o", "large")
            choice.select(model, tier)
        await ask(editors[model], f"Write digest {chance.randrange(30)}")

    async def review(chance: random.Random) -> None:
        await ask(reviewer, f"Review brief {chance.randrange(30)}")

    return [
        Scene(
            "a digest is written, by a local model once it costs too much",
            write_digest,
            every=2.5,
            first=1,
        ),
        Scene("a review is asked for, until its budget is spent", review, every=4, first=2),
    ]
