"""A ledger in this process whose PostgreSQL server there is trouble with."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from time import perf_counter

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    Ledger,
    MemoryRecorder,
    track_call,
)
from agentmetrics.budget.ledger import schema
from tests.services.driven import SECONDS
from tests.services.postgres import PostgresServer
from tests.services.webserver import wait_for

LOST = "agentmetrics_ledger_calls_lost_total"
TABLE = schema.LEDGER.name


class Program:
    """A ledger whose server there is trouble with, and somebody whose budgets ask it."""

    def __init__(self, server: PostgresServer, spool: Path, url: str = "") -> None:
        self.url, self.spool, self._server = url or server.new_database(), spool, server
        self.recorder, self.careful = MemoryRecorder(), MemoryRecorder()
        self.ledger = Ledger(
            f"{self.url}?connect_timeout=2", spool_dir=spool, flush_interval_seconds=0.1
        )
        self.ledger.attach(self.recorder)
        self.made, self.slowest = 0, 0.0

    def calls(self, many: int = 1) -> None:
        for _ in range(many):
            began = perf_counter()
            self.call(self.recorder)
            self.slowest = max(self.slowest, perf_counter() - began)
        self.made += many

    def call(self, recorder: MemoryRecorder) -> None:
        with track_call("openai", "gpt-4o-mini", agent_name="driven", recorder=recorder) as made:
            made.record_usage(1000, 1000)

    def reserve(self) -> None:
        """Make a call that costs nothing, for which the most that it could cost is reserved."""
        with track_call(
            "openai",
            "gpt-4o-mini",
            recorder=self.careful,
            max_input_tokens=1,
            max_output_tokens=1,
        ):
            pass

    def may_reserve(self) -> bool:
        with suppress(BudgetExceeded):
            self.reserve()
            return True
        return False

    @contextmanager
    def in_trouble(self, which: str) -> Iterator[None]:
        """There is this trouble with the server, and the ledger's thread has met it."""
        server, failed = self._server, self.failed_writes()
        every = ", ".join(table.name for table in schema.METADATA.tables.values())
        kinds: dict[str, Callable[[], AbstractContextManager[object]]] = {
            "stopped": server.stopped,
            "paused": server.paused,
            "frozen": lambda: server.frozen(self.url, TABLE, self.calls),
            "locked": lambda: server.stuck(self.url, TABLE, self.calls),
            "locked for readers": lambda: server.locked(self.url, every),
        }
        with kinds[which]():
            if which not in ("frozen", "locked"):  # where nobody waits yet
                self.calls()
                wait_for(lambda: self.ledger.failure or self.failed_writes() > failed, SECONDS)
            yield

    def is_back(self) -> bool:
        return self.ledger.failure is None

    def lost(self) -> float:
        return self.recorder.value(LOST)

    def failed_writes(self) -> float:
        return self.recorder.value("agentmetrics_ledger_writes_total", status="error")

    @contextmanager
    def careful_with(self, budget: Budget) -> Iterator[None]:
        """A budget refuses calls while the ledger does not answer."""
        budgets = Budgets([budget], self.careful, ledger=self.ledger, on_ledger_error="block")
        budgets.load()
        try:
            yield
        finally:
            budgets.close()
