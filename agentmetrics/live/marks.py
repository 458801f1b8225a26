"""What is marked as stuck, in a loop, or about to break its budget.

The rules are those of the alerts of the same kind (docs/alerts.md), on what a watch has seen: who
has watched for three minutes judges by three, where the alert has fifteen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

STUCK_SECONDS = 900.0
"""``AgentStuck``, ``CallStuck``: how old the oldest may be, and how long nothing may end."""
LOOP_SECONDS = 600.0
"""``AgentLoopsNow``: over how long calls are counted."""
LOOP_CALLS = 60.0
"""``AgentLoopsNow``: how many calls a run in progress may make meanwhile."""
NEARLY_SPENT = 0.8
"""``BudgetNearlySpent``: from which share of the limit on."""
FORECAST_FROM = 0.25
"""``BudgetForecast``: how much must be spent for the projection to mean anything."""
SOON_SECONDS = 3600.0
"""``BudgetRunsOutSoon``: how long the rest must last at least, and the period goes on at least."""
SOON_WATCHED_SECONDS = 300.0
"""How long one must have watched to say so: a single call is no rate."""

MarkKind = Literal[
    "stuck",
    "call_stuck",
    "loops",
    "budget_spent",
    "budget_nearly_spent",
    "budget_forecast",
    "budget_runs_out",
]


@dataclass(frozen=True, slots=True)
class Mark:
    """Something to look at: what it is, for programs, and why, for people."""

    kind: MarkKind
    text: str


def agent_marks(
    *,
    active_runs: float,
    oldest_run_seconds: float,
    oldest_call_seconds: float,
    ended_recently: float,
    calls_recently: float,
    runs_recently: float,
    has_watched: bool,
) -> Iterator[Mark]:
    """The marks of one agent.

    ``ended_recently`` are calls and tools that have ended within ``STUCK_SECONDS``,
    ``calls_recently`` calls and ``runs_recently`` runs that have within ``LOOP_SECONDS``.
    ``has_watched`` says whether anybody has looked for long enough to say that nothing ended.
    """
    if oldest_run_seconds > STUCK_SECONDS and has_watched and not ended_recently:
        age = _minutes(oldest_run_seconds)
        yield Mark("stuck", f"a run is open for {age}, and no call or tool has ended")
    if oldest_call_seconds > STUCK_SECONDS:
        yield Mark("call_stuck", f"a call is in flight for {_minutes(oldest_call_seconds)}")
    if active_runs and calls_recently / max(active_runs, 1.0) > LOOP_CALLS and not runs_recently:
        each = calls_recently / max(active_runs, 1.0)
        yield Mark("loops", f"{each:.0f} calls for each open run, and no run has ended")


def budget_marks(
    limit_usd: float,
    spent_usd: float,
    *,
    projected_usd: float | None,
    lasts_seconds: float | None,
    goes_on_seconds: float,
    has_watched: bool,
) -> Iterator[Mark]:
    """The marks of one budget.

    ``lasts_seconds`` is how long the rest lasts at the rate of late, ``goes_on_seconds`` how long
    its period does. ``has_watched`` says whether that was for ``SOON_WATCHED_SECONDS``.
    """
    if limit_usd <= 0:
        return
    share = spent_usd / limit_usd
    if share >= 1:
        yield Mark("budget_spent", f"{share:.0%} of the limit is spent")
        return
    if share > NEARLY_SPENT:
        yield Mark("budget_nearly_spent", f"{share:.0%} of the limit is spent")
    if projected_usd is not None and projected_usd > limit_usd and share > FORECAST_FROM:
        yield Mark(
            "budget_forecast", f"at this rate, {projected_usd / limit_usd:.0%} when the period ends"
        )

    if has_watched and lasts_seconds is not None and lasts_seconds < SOON_SECONDS < goes_on_seconds:
        yield Mark("budget_runs_out", f"the rest lasts for {_minutes(lasts_seconds)}")


def _minutes(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
