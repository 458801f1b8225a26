"""A program whose clock somebody moves: it has budgets and open calls, and does what it is told.

Besides what ``tests/integration/apps/driven.py`` does: ``open N`` calls, ``finish`` them,
``strange`` (what it measured that cannot be, as JSON), ``spent`` (USD in the budget's day).
"""

from __future__ import annotations

import json
import math
import threading
import time
from contextlib import ExitStack
from pathlib import Path

from agentmetrics import Budget, Budgets, track_call
from tests.integration.apps.driven import Program, serve

LONGEST_SECONDS = 600.0
"""No call here is open for as long, by any clock but one that was moved."""


class Clocked(Program):
    def __init__(self, url: str, spool: Path | None) -> None:
        super().__init__(url, spool)
        budget = Budget("all", limit_usd=1e6, period="daily", action="block")
        self._budgets = Budgets([budget], self._recorder, ledger=self._ledger)
        self._budgets.load()
        self._open = ExitStack()

    def open(self, many: str) -> str:
        for _ in range(int(many)):
            call = track_call("openai", "gpt-4o-mini", agent_name="driven", recorder=self._recorder)
            self._open.enter_context(call).record_usage(1000, 1000)
        return "opened"

    def finish(self) -> str:
        self._open.close()
        return "finished"

    def strange(self) -> str:
        found: list[tuple[str, object]] = [
            (sample.name, sample.value)
            for sample in self._recorder.samples()
            if sample.value < 0 or not math.isfinite(sample.value)
        ]
        took = self._recorder.histogram("llm_latency_seconds")
        if not 0 <= took.sum < LONGEST_SECONDS * max(1, took.count):
            found.append(("llm_latency_seconds", took.sum))
        (status,) = self._budgets.status()
        if not status.starts_at <= status.as_of < status.resets_at:
            found.append(("budget", str(status)))
        return json.dumps(found)

    def spent(self) -> str:
        (status,) = self._budgets.status()
        return str(status.spent_usd)


if __name__ == "__main__":
    # libfaketime takes the moment that time.sleep waits for to be one of the clock that it moves.
    time.sleep = threading.Event().wait  # type: ignore[assignment]
    serve(Clocked)
