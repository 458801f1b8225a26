"""``agentmetrics demo``: a LangGraph program, measured, beside the account of its model server."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import typer
from prometheus_async.aio.web import MetricsHTTPServer
from prometheus_client import CollectorRegistry

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    FanoutRecorder,
    Ledger,
    MemoryRecorder,
    MetricsCallbackHandler,
    PrometheusRecorder,
)
from agentmetrics.budget.ledger.summary import Summary
from agentmetrics.cli import cost
from agentmetrics.cli.console import complain, fail, messages, output, tell
from agentmetrics.cli.cost_report import Report
from agentmetrics.cli.demo import traffic, wire
from agentmetrics.cli.demo.environment import undisturbed
from agentmetrics.cli.demo.program import Team, make_team
from agentmetrics.cli.demo.progress import Progress
from agentmetrics.cli.demo.table import (
    agent_rows,
    call_table,
    cost_differences,
    differences,
    time_table,
    total_row,
)
from agentmetrics.exposition import start_http_server
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.recording.recorder import Recorder

BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0)
"""Seconds. The model server answers much faster than a real one."""

WRITER_LIMIT_USD = 0.0013

_NEXT = """\
Next steps
  agentmetrics demo --serve   the same with live traffic, for Prometheus to scrape
  agentmetrics cost           what was spent, from the ledger in AGENTMETRICS_LEDGER_URL
  agentmetrics check          what your own AGENTMETRICS_* settings would do

In your program
  from agentmetrics import MetricsCallbackHandler
  chain.invoke(question, config={"callbacks": [MetricsCallbackHandler()]})
"""


@dataclass
class Stage:
    """What a demo has: the model server, the recorders, and the team that is measured."""

    wire: wire.Wire
    memory: MemoryRecorder
    prometheus: PrometheusRecorder
    team: Team
    config: dict[str, Any]
    progress: Progress
    ledger: Ledger
    budgets: Budgets
    refused: list[BudgetExceeded] = field(default_factory=list)

    def spend(self) -> Summary:
        """What the ledger says of today."""
        return self.ledger.summary("daily", by=["agent"])

    def differences(self) -> list[str]:
        rows = agent_rows(self.memory)
        return [*differences(rows, self.wire.tallies), *cost_differences(rows, self.spend().groups)]


@contextmanager
def _stage(budget: Budget) -> Iterator[Stage]:
    with undisturbed(), wire.serving() as server, tempfile.TemporaryDirectory() as directory:
        memory = MemoryRecorder()
        prometheus = PrometheusRecorder(CollectorRegistry())
        recorder: Recorder = FanoutRecorder([memory, prometheus])
        pipeline_of(recorder, Options(latency_buckets=BUCKETS))
        config = {"callbacks": [MetricsCallbackHandler(recorder)]}
        progress = Progress(messages(), memory)
        team = make_team(server.base_url)
        with Ledger(f"sqlite:///{Path(directory, 'spend.db')}") as ledger:
            ledger.attach(recorder)
            budgets = Budgets([budget], recorder, ledger=ledger)
            yield Stage(server, memory, prometheus, team, config, progress, ledger, budgets)
            budgets.close()


def _budget(action: Literal["warn", "block"]) -> Budget:
    """What the writer may cost in a day: the fifth question would be too much."""
    scope = {"agent_name": "writer"}
    return Budget("briefs", WRITER_LIMIT_USD, scope=scope, thresholds=(), action=action)


def print_tables() -> None:
    """Run the five questions, and show the tables and what to type next."""
    with _stage(_budget("block")) as stage:
        _run_all(stage)
        _show(stage)
        tell(_NEXT)
        _end(stage)


def print_json() -> None:
    """Run the five questions, and print everything as one JSON object."""
    with _stage(_budget("block")) as stage:
        _run_all(stage)
        found = {
            "agents": [asdict(row) for row in agent_rows(stage.memory)],
            "total": asdict(total_row(stage.memory)),
            "server": {agent: asdict(tally) for agent, tally in stage.wire.tallies.items()},
            "spend": stage.spend().as_dict(),
            "budgets": [status.as_dict() for status in stage.budgets.status()],
            "refused": [str(refused) for refused in stage.refused],
            "differences": stage.differences(),
        }
        typer.echo(json.dumps(found, indent=2))
        _end(stage)


def _run_all(stage: Stage) -> None:
    with stage.progress.shown():
        stage.refused = asyncio.run(
            traffic.ask_all(stage.team, stage.config, stage.wire, stage.progress.say)
        )


def _show(stage: Stage) -> None:
    rows, total = agent_rows(stage.memory), total_row(stage.memory)
    screen = output()
    screen.print()
    screen.print(call_table(rows, total))
    screen.print()
    screen.print(time_table(rows, total))
    screen.print()
    cost.print_table(Report(stage.spend(), stage.budgets.status()))
    for refused in stage.refused:
        screen.print(f"Not sent: {refused}.")
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


def serve(host: str, port: int) -> None:
    """Run the five questions and then live traffic at ``/metrics``.

    SIGINT and SIGTERM end it, when the questions under way are answered, with 0 as there is no
    other way out.
    """
    with _stage(_budget("warn")) as stage:
        asyncio.run(_serve(stage, host, port))
        _show(stage)
        _end(stage)


async def _serve(stage: Stage, host: str, port: int) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopping.set)
    try:
        server = await start_http_server(stage.prometheus, host=host, port=port)
    except OSError as error:
        fail(error.strerror or str(error))
    try:
        tell(_how_to_scrape(server))
        with stage.progress.shown():
            await traffic.ask_all(stage.team, stage.config, stage.wire, stage.progress.say)
            stage.progress.say("live traffic, until Ctrl-C")
            await traffic.ask_on(stage.team, stage.config, stage.wire, stopping)
    finally:
        await server.close()


def _how_to_scrape(server: MetricsHTTPServer) -> str:
    host = server.socket.addr
    if host in ("0.0.0.0", "::"):
        host = socket.gethostname()
    target = f"[{host}]:{server.socket.port}" if ":" in host else f"{host}:{server.socket.port}"
    return f"""\
Serving http://{target}/metrics until Ctrl-C. For prometheus.yml:

scrape_configs:
  - job_name: agentmetrics-demo
    scrape_interval: 2s
    static_configs:
      - targets: ["{target}"]
"""
