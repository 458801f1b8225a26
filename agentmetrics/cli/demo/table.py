"""The demo's tables, and what the recorder holds beside what the wire and the ledger counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields

from rich.console import Console

from agentmetrics import RecorderSummary
from agentmetrics.budget.ledger.summary import Group
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.cli.demo.wire import Tally
from agentmetrics.summary.rows import AgentNumbers
from agentmetrics.summary.tables import agent_tables
from agentmetrics.summary.text import laid


def show_agents(summary: RecorderSummary, screen: Console) -> None:
    """The tables by agent, with all of them."""
    for table in agent_tables(summary.agents, summary.total):
        found = laid(table, screen.width)
        rule = "─" * found.width
        screen.print()
        for style, lines in (
            ("bold", [found.title, *found.header]),
            ("", [rule, *found.rows, rule]),
            ("bold", found.footer),
        ):
            screen.print("\n".join(lines), style=style, soft_wrap=True)


def differences(rows: Sequence[AgentNumbers], tallies: Mapping[str, Tally]) -> list[str]:
    """What the recorder and the wire do not agree about, agent by agent; empty when equal."""
    recorded = {row.agent: asdict(row) for row in rows}
    counted = {agent: asdict(tally) for agent, tally in tallies.items()}
    found = [
        f"{agent} {field.name.replace('_', ' ')}: {ours} recorded, {theirs} counted by the server"
        for agent in dict.fromkeys((*recorded, *counted))
        for field in fields(Tally)
        if (ours := recorded.get(agent, {}).get(field.name, 0))
        != (theirs := counted.get(agent, {}).get(field.name, 0))
    ]
    running = [f"{row.agent}: {row.active} calls still active" for row in rows if row.active]
    return found + running


def cost_differences(rows: Sequence[AgentNumbers], groups: Sequence[Group]) -> list[str]:
    """What the recorder and the ledger do not agree about, in whole nano-dollars."""
    kept: Counter[str] = Counter()
    for group in groups:
        kept[group.labels["agent_name"]] += group.amounts.cost_nano_usd
    recorded = {row.agent: round((row.cost_usd or 0.0) * NANO) for row in rows}
    return [
        f"{agent} cost: {recorded.get(agent, 0)} nano-dollars recorded, {kept[agent]} in the ledger"
        for agent in dict.fromkeys((*recorded, *kept))
        if recorded.get(agent, 0) != kept[agent]
    ]
