"""Who asks the demo's team: five questions that each show something, or questions without end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from agentmetrics.cli.demo.program import Team, question
from agentmetrics.cli.demo.script import STALLING
from agentmetrics.cli.demo.wire import Wire
from agentmetrics.errors import BudgetExceeded

Config = dict[str, Any]

_SETTLE_SECONDS = 5.0
_CALLERS = 3
_STALL_SHARE = 0.1
_SUBJECTS = ("token prices", "slow calls", "retries", "caches", "budgets", "streams")
_EDITIONS = 12

OVER_BUDGET = "one brief too many"
QUESTIONS = (
    ("token prices", "the planner is rate-limited once and retries"),
    ("slow calls", "the researcher uses tools, the writer streams"),
    (STALLING, "the caller gives up on the writer"),
    ("token prices", "the plan comes from the cache"),
    (OVER_BUDGET, "the writer's budget is spent"),
)


async def ask_all(
    team: Team, config: Any, wire: Wire, say: Callable[[str], None]
) -> list[BudgetExceeded]:
    """The five questions, one after the other; returns what budgets refused of them."""
    refused = []
    for number, (subject, what) in enumerate(QUESTIONS, 1):
        say(f"{number} of {len(QUESTIONS)}, a brief on {subject}: {what}")
        try:
            await _ask(team, config, wire, subject)
        except BudgetExceeded as error:
            refused.append(error)
    await settled(wire)
    return refused


async def _ask(team: Team, config: Any, wire: Wire, subject: str) -> None:
    run = asyncio.ensure_future(team.ainvoke(question(subject), config))
    if subject == STALLING:
        while not (run.done() or wire.stalled.is_set()):
            await asyncio.sleep(0.01)
        run.cancel()
    # Gathered, as a cancelled run is no cancellation of the one who asked.
    outcome = (await asyncio.gather(run, return_exceptions=True))[0]
    if isinstance(outcome, Exception):
        raise outcome


async def ask_on(team: Team, config: Any, wire: Wire, stopping: asyncio.Event) -> None:
    """Questions without end, from several callers; each finishes its last one when told to stop."""
    await asyncio.gather(
        *(_caller(team, config, wire, stopping, number) for number in range(_CALLERS))
    )
    await settled(wire)


async def _caller(
    team: Team, config: Any, wire: Wire, stopping: asyncio.Event, number: int
) -> None:
    chance = random.Random(number)
    while not stopping.is_set():
        subject = f"{chance.choice(_SUBJECTS)}, part {chance.randrange(_EDITIONS)}"
        if number == 0 and chance.random() < _STALL_SHARE:
            subject = STALLING  # one caller alone: the wire has one signal for it
        with suppress(Exception):  # the wire fails on purpose; the metrics tell of it
            await _ask(team, config, wire, subject)
        try:
            await asyncio.wait_for(stopping.wait(), chance.uniform(0.1, 0.8))
        except asyncio.TimeoutError:
            continue


async def settled(wire: Wire) -> None:
    """Wait until the wire has noticed the last caller who went away."""
    for _ in range(int(_SETTLE_SECONDS / 0.01)):
        if not wire.open:
            return
        await asyncio.sleep(0.01)
