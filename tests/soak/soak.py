"""A soak: how it goes, and what comes out."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from random import Random
from typing import Any

from agentmetrics import Ledger
from agentmetrics.budget.ledger.segment import SUFFIX
from tests.soak.account import Sum, accounts, acknowledged_so_far, told
from tests.soak.fleet import Fleet, Slot
from tests.soak.trouble import Database, troubled

PROCESSES = 8
SECONDS_BETWEEN_ENDS = 0.6


@dataclass(frozen=True)
class Ledgers:
    """What one ledger has, beside what the processes told that write to it."""

    acknowledged: Sum
    uncertain: int
    """Calls that had begun and were not acknowledged: each may be in the ledger or not."""
    written: Sum
    processes: int
    left_in_spool: list[str]
    """Files of the spool that are there, once the ledger was opened after everything had ended."""
    wrong: list[str]
    """Processes of which the ledger has anything else than is possible."""


@dataclass(frozen=True)
class Report:
    """What happened, and what is in the ledgers."""

    seed: int
    seconds: float
    happened: Counter[str]
    ledgers: dict[str, Ledgers] = field(default_factory=dict)

    @property
    def is_right(self) -> bool:
        return not any(ledger.wrong or ledger.left_in_spool for ledger in self.ledgers.values())

    def as_dict(self) -> dict[str, Any]:
        ledgers = {
            name: {
                **asdict(ledger),
                "acknowledged": ledger.acknowledged._asdict(),
                "written": ledger.written._asdict(),
            }
            for name, ledger in self.ledgers.items()
        }
        return {
            "seed": self.seed,
            "seconds": self.seconds,
            "happened": dict(self.happened),
            "ledgers": ledgers,
            "is_right": self.is_right,
        }


class Soak:
    """Eight processes, half of them on each of two databases."""

    def __init__(
        self, directory: Path, databases: list[Database], seed: int, tell: Callable[[str], None]
    ) -> None:
        self._directory, self._databases = directory, databases
        self._seed, self._tell = seed, tell
        self._happened: Counter[str] = Counter()

    def run(self, seconds: float) -> Report:
        """Go on for so long, then kill everything, and look."""
        chance, began = Random(self._seed), time.monotonic()
        with ExitStack() as running:
            fleet = running.enter_context(Fleet(self._slots(), chance))
            pause = min(10.0, seconds / 4)
            running.enter_context(troubled(self._databases, self._seed, pause, self._note))
            self._until(began + seconds, fleet, chance)
        self._happened.update(fleet.done)
        said = (self._directory / "log").read_text().count("spool cannot be written to")
        self._happened["spools that were in memory"] = said
        report = Report(self._seed, round(time.monotonic() - began, 1), self._happened)
        report.ledgers.update({one.name: self._look(one) for one in self._databases})
        return report

    def _note(self, what: str) -> None:
        self._happened[what] += 1
        self._tell(what)

    def _slots(self) -> list[Slot]:
        slots = []
        for number in range(PROCESSES):
            database = self._databases[number % len(self._databases)]
            directory = self._of(database)
            directory.mkdir(exist_ok=True)
            env = {
                "AGENTMETRICS_LEDGER_URL": database.url,
                "AGENTMETRICS_SPOOL_DIR": str(self._spool(database)),
            }
            slots.append(Slot(f"slot-{number}", env, directory, self._directory / "log"))
        return slots

    def _of(self, database: Database) -> Path:
        return self._directory / database.name

    def _spool(self, database: Database) -> Path:
        return self._directory / f"{database.name}-spool"

    def _until(self, deadline: float, fleet: Fleet, chance: Random) -> None:
        next_end = next_word = time.monotonic() + 1
        while time.monotonic() < deadline:
            fleet.keep_running()
            if time.monotonic() >= next_end:
                fleet.end_one()
                next_end = time.monotonic() + chance.expovariate(1 / SECONDS_BETWEEN_ENDS)
            if time.monotonic() >= next_word:
                made = sum(acknowledged_so_far(self._of(one)) for one in self._databases)
                self._tell(f"{made:,} calls; {_listed(fleet.done)}")
                next_word = time.monotonic() + 5
            time.sleep(0.02)

    def _look(self, database: Database) -> Ledgers:
        """As anybody would who opens the ledger after everything has ended."""
        directory, spool = self._of(database), self._spool(database)
        since = datetime.now(timezone.utc) - timedelta(days=2)
        with Ledger(database.url, spool_dir=spool) as ledger:
            groups = ledger.summary("monthly", by=["agent_name"], since=since).groups
        written = {
            group.labels["agent_name"]: Sum(
                group.amounts.calls,
                group.amounts.input_tokens,
                group.amounts.output_tokens,
                group.amounts.cost_nano_usd,
            )
            for group in groups
        }
        said = {agent: told(path) for agent, path in accounts(directory)}
        wrong = [
            f"{agent}: {written.get(agent, Sum())} is written, {one.acknowledged} was "
            f"acknowledged, {len(one.uncertain)} are uncertain"
            for agent, one in said.items()
            if written.get(agent, Sum()) not in one.possible()
        ]
        wrong += [f"{agent}: nobody has that name" for agent in written.keys() - said.keys()]
        return Ledgers(
            acknowledged=_total(one.acknowledged for one in said.values()),
            uncertain=sum(len(one.uncertain) for one in said.values()),
            written=_total(written.values()),
            processes=len(said),
            left_in_spool=[str(file.relative_to(spool)) for file in spool.rglob(f"*{SUFFIX}")],
            wrong=wrong,
        )


def _total(sums: Any) -> Sum:
    total = Sum()
    for one in sums:
        total = total.plus(one)
    return total


def _listed(done: Counter[str]) -> str:
    return ", ".join(f"{times} {what}" for what, times in sorted(done.items()))
