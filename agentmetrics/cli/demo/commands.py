"""What ``agentmetrics demo`` does: five questions in tables or as JSON, or live traffic."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict

import typer

from agentmetrics import Budget
from agentmetrics.cli import cost
from agentmetrics.cli.console import complain, fail, output, tell
from agentmetrics.cli.cost_report import Report
from agentmetrics.cli.demo import serving, traffic
from agentmetrics.cli.demo.live.budgets import BUDGETS
from agentmetrics.cli.demo.live.history import write_history
from agentmetrics.cli.demo.program import make_team
from agentmetrics.cli.demo.stack import Programs
from agentmetrics.cli.demo.stage import Stage, staged
from agentmetrics.cli.demo.table import show_agents

_BRIEFS = Budget("briefs", 0.0013, scope={"agent_name": "writer"}, thresholds=(), action="block")
"""What the writer may cost in a day, which is spent by the fifth question."""

_NEXT = """\
Next steps
  agentmetrics demo --serve   live traffic of every kind, as a page to look at and for Prometheus
  agentmetrics demo --stack   the same with Prometheus and Alertmanager beside it
  agentmetrics cost           what was spent, from the ledger in AGENTMETRICS_LEDGER_URL
  agentmetrics check          what your own AGENTMETRICS_* settings would do

In your program
  from agentmetrics import MetricsCallbackHandler
  chain.invoke(question, config={"callbacks": [MetricsCallbackHandler()]})
"""


def print_tables() -> None:
    """Run the five questions, and show the tables and what to type next."""
    with staged([_BRIEFS]) as stage:
        _run_all(stage)
        _show(stage)
        tell(_NEXT)
        _end(stage)


def print_json() -> None:
    """Run the five questions, and print everything as one JSON object."""
    with staged([_BRIEFS]) as stage:
        _run_all(stage)
        recorded = stage.memory.summary().as_dict()
        found = {
            "agents": recorded["agents"],
            "total": recorded["total"],
            "server": {agent: asdict(tally) for agent, tally in stage.wire.tallies.items()},
            "spend": stage.spend().as_dict(),
            "budgets": [status.as_dict() for status in stage.standings()],
            "refused": list(stage.refused),
            "differences": stage.differences(),
        }
        typer.echo(json.dumps(found, indent=2))
        _end(stage)


def serve(host: str, port: int, page: bool | None) -> None:
    """Serve live traffic at ``/metrics`` until SIGINT, SIGTERM or SIGHUP, which end it with 0.

    The calls under way are awaited, so that the tables at the end are exact.
    """
    with staged(BUDGETS, write_history) as stage:
        asyncio.run(serving.serve(stage, host, port, page))
        _show(stage)
        _end(stage)


def serve_stack(programs: Programs, host: str, port: int, page: bool | None) -> None:
    """The same with Prometheus and Alertmanager beside it; with 1 when one of them ends earlier."""
    with staged(BUDGETS, write_history) as stage:
        asyncio.run(serving.serve_stack(stage, programs, host, port, page))
        _show(stage)
        _end(stage)


def _run_all(stage: Stage) -> None:
    with stage.progress.shown():
        team = make_team(stage.wire.base_url)
        asyncio.run(traffic.ask_all(team, stage))


def _show(stage: Stage) -> None:
    summary = stage.memory.summary()
    total = summary.total
    screen = output()
    show_agents(summary, screen)
    screen.print()
    cost.print_table(Report(stage.spend(), stage.standings()))
    for refused, times in stage.refused.items():
        screen.print(f"Not sent{f', {times} times' if times > 1 else ''}: {refused}.")
    screen.print()
    if not stage.differences():
        tell(
            f"The model server counted the same for every agent: {total.calls} calls "
            f"({total.errors} failed, {total.cancelled} cancelled) and "
            f"{total.input_tokens + total.output_tokens:,} tokens in total. "
            "The ledger agrees to the nano-dollar.\n"
        )


def _end(stage: Stage) -> None:
    """End with 1, saying why, when the recorder and the model server do not agree."""
    found = stage.differences()
    for difference in found:
        complain(difference)
    if found:
        fail("the table does not match what the model server counted")
