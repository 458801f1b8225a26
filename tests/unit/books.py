"""A ledger that tests fill at times of their own, and the command that reads it."""

from __future__ import annotations

from pathlib import Path

from typer.testing import Result

from agentmetrics import Ledger, MemoryRecorder
from agentmetrics.calls.facts import LLMCall
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.providers.usage import Usage
from tests.clock import Clock
from tests.unit.test_cli import run

ZONE = "Europe/Berlin"


class Books:
    """A ledger to fill, and the command that reads it."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self.clock = clock
        self.url = f"sqlite:///{path}"
        self.recorder = MemoryRecorder()
        pipeline_of(self.recorder, Options(extra_labels=("tenant",)))
        self.ledger = Ledger(self.url, clock=clock, flush_interval_seconds=3600.0)
        self.ledger.attach(self.recorder)

    def spend(
        self, when: str, agent: str, tokens: int | None, model: str = "gpt-4o", tenant: str = ""
    ) -> None:
        self.call(when, agent, tokens, model, tenant)
        self.ledger.flush()

    def call(
        self, when: str, agent: str, tokens: int | None, model: str = "gpt-4o", tenant: str = ""
    ) -> None:
        """A call that is written with the next that is spent."""
        self.clock.set(when, ZONE)
        call = LLMCall(agent, "openai", model, 0.0, extra=(tenant,))
        call.usage = None if tokens is None else Usage(tokens, tokens // 100)
        pipeline_of(self.recorder).finish(call)

    def cost(self, *arguments: str, **environment: str) -> Result:
        environment = {"COLUMNS": "80", "AGENTMETRICS_TIMEZONE": ZONE, **environment}
        return run("cost", *arguments, AGENTMETRICS_LEDGER_URL=self.url, **environment)


def lines(text: str) -> list[str]:
    """What was printed, without the space around it and lines of nothing else."""
    text = text.replace("\N{EN DASH}", "-")
    return [" ".join(line.split()) for line in text.splitlines() if line.strip(" ─")]
