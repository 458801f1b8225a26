"""Who asks the demo's team: five questions that each show something."""

from __future__ import annotations

import asyncio

from agentmetrics import BudgetExceeded
from agentmetrics.cli.demo.program import Team, question
from agentmetrics.cli.demo.script import STALLING
from agentmetrics.cli.demo.stage import Stage

QUESTIONS = (
    ("token prices", "the planner is rate-limited once and retries"),
    ("slow calls", "the researcher uses tools, the writer streams"),
    (STALLING, "the caller gives up on the writer"),
    ("token prices", "the plan comes from the cache"),
    ("one brief too many", "the writer's budget is spent"),
)


async def ask_all(team: Team, stage: Stage) -> None:
    """The five questions, one after the other."""
    for number, (subject, what) in enumerate(QUESTIONS, 1):
        stage.progress.say(f"{number} of {len(QUESTIONS)}, a brief on {subject}: {what}")
        try:
            await _ask(team, stage, subject)
        except BudgetExceeded as refused:
            stage.refused[str(refused)] += 1
    await stage.wire.settled()


async def _ask(team: Team, stage: Stage, subject: str) -> None:
    run = asyncio.ensure_future(team.ainvoke(question(subject), stage.config))
    if subject == STALLING:
        while not (run.done() or stage.wire.stalled.is_set()):
            await asyncio.sleep(0.01)
        run.cancel()
    # Gathered, as a cancelled run is no cancellation of the one who asked.
    outcome = (await asyncio.gather(run, return_exceptions=True))[0]
    if isinstance(outcome, Exception):
        raise outcome
