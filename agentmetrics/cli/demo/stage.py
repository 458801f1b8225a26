"""What a demo runs on: its model server, its recorders, its ledger and its budgets."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from langchain_core.runnables import RunnableConfig
from prometheus_client import CollectorRegistry

from agentmetrics import (
    Budget,
    BudgetStatus,
    FanoutRecorder,
    MemoryRecorder,
    MetricsCallbackHandler,
    NoopRecorder,
    PrometheusRecorder,
    __version__,
    configure,
    get_ledger,
)
from agentmetrics.budget.ledger.summary import Summary
from agentmetrics.cli.console import messages
from agentmetrics.cli.demo import wire
from agentmetrics.cli.demo.environment import undisturbed
from agentmetrics.cli.demo.progress import Progress
from agentmetrics.cli.demo.table import cost_differences, differences
from agentmetrics.config.active import replaced

BUCKETS = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 30.0, 60.0)
"""Seconds. The model server answers much faster than a real one."""


@dataclass
class Stage:
    """A model server, and a process that is configured to be measured."""

    wire: wire.Wire
    memory: MemoryRecorder
    prometheus: PrometheusRecorder
    budgets: Sequence[Budget]
    handler: MetricsCallbackHandler
    progress: Progress
    refused: Counter[str] = field(default_factory=Counter)
    """What budgets said when they refused a call, and how often."""

    @property
    def config(self) -> RunnableConfig:
        """What a program passes to LangChain so that its runs are measured."""
        return {"callbacks": [self.handler]}

    def spend(self) -> Summary:
        """What the ledger says of today."""
        return get_ledger().summary("daily", by=["agent"])

    def standings(self) -> list[BudgetStatus]:
        """How the budgets stand."""
        return [budget.status() for budget in self.budgets]

    def differences(self) -> list[str]:
        """What the recorder, the model server and the ledger do not agree about."""
        rows = self.memory.summary().agents
        return [*differences(rows, self.wire.tallies), *cost_differences(rows, self.spend().groups)]


def _no_past(url: str) -> None:
    pass


@contextmanager
def staged(
    budgets: Sequence[Budget], write_past: Callable[[str], None] = _no_past
) -> Iterator[Stage]:
    """A stage on which these budgets are in force; afterwards the process is as it was.

    ``write_past`` is given the URL of the ledger, to write what it is to hold from the start.
    """
    with undisturbed(), wire.serving() as server, tempfile.TemporaryDirectory() as directory:
        memory = MemoryRecorder()
        prometheus = PrometheusRecorder(CollectorRegistry())
        ledger_url = f"sqlite:///{Path(directory, 'spend.db')}"
        with replaced(NoopRecorder()):
            write_past(ledger_url)
            configure(
                FanoutRecorder([memory, prometheus]),
                budgets=budgets,
                ledger_url=ledger_url,
                latency_buckets=BUCKETS,
                call_tokens=True,
                service="agentmetrics-demo",
                service_version=__version__,
            )
            progress = Progress(messages(), memory)
            yield Stage(server, memory, prometheus, budgets, MetricsCallbackHandler(), progress)
