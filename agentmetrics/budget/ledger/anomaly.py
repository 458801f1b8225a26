"""The spend of each agent in the last hour beside that in the same hour of the days before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import tzinfo
from statistics import median

from agentmetrics.budget.ledger.snapshot import Snapshot
from agentmetrics.budget.periods import BUCKET_SECONDS, Span, earlier

HOUR_SECONDS = 3600
DAYS = 7
FEWEST_DAYS = 3
"""With fewer days on which an agent spent anything in that hour, nothing is usual yet."""


def spend_ratios(snapshot: Snapshot, now: float, zone: tzinfo) -> dict[str, float]:
    """By agent, the spend of the last hour divided by what is usual at this time of the day.

    The hour ends with the last whole quarter before ``now`` (Unix seconds), since a row of the
    ledger is one. Usual is the median of the same hour, by the clocks of ``zone``, of those of the
    previous 7 days on which the agent spent anything in it: one outlier does not move it, and a day
    off does not halve it. Agents with fewer than three such days are left out.
    """
    last, *before = (_spent(snapshot, hour) for hour in _hours(now, zone))
    usual: dict[str, list[int]] = defaultdict(list)
    for spent in before:
        for agent, nano_usd in spent.items():
            usual[agent].append(nano_usd)
    return {
        agent: last.get(agent, 0) / median(each)
        for agent, each in usual.items()
        if len(each) >= FEWEST_DAYS
    }


def _hours(now: float, zone: tzinfo) -> Iterator[Span]:
    """The last hour, and the same one of each day before it."""
    last = int(now) // BUCKET_SECONDS * BUCKET_SECONDS
    for days in range(DAYS + 1):
        end = earlier("daily", last, days, zone) if days else last
        yield Span(end - HOUR_SECONDS, end)


def _spent(snapshot: Snapshot, hour: Span) -> dict[str, int]:
    """The agents that spent anything, with how much in 10⁻⁹ USD."""
    rows = snapshot.amounts(*hour, ["agent_name"])
    return {agent: amounts.cost_nano_usd for agent, amounts in rows if amounts.cost_nano_usd}
