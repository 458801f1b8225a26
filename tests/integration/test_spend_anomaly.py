"""What an agent has spent today, and beside what it usually does, from a real ledger."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics import Ledger, LedgerUnavailable, MemoryRecorder, catalog, track_call
from agentmetrics.budget.ledger.database import Database
from tests.clock import Clock, one_clock

ROOT = Path(__file__).parents[2]
NEVER = 3600.0
SHOW_UNTIL_TOLD = """\
import sys, time
from agentmetrics import configure, get_recorder, track_call
configure(ledger_url=sys.argv[1], ledger_flush_interval=0.05)
with track_call("openai", "gpt-4o", agent_name="other") as call:
    call.record_usage(input_tokens=1, output_tokens=0)  # starts the ledger's thread
while "llm_cost_anomaly_ratio" not in get_recorder().snapshot():
    time.sleep(0.01)
print("shown", flush=True)
sys.stdin.readline()
"""


class History:
    """A ledger whose clock a test sets, and calls at times of its choice."""

    def __init__(self, url: str, clock: Clock, zone: str) -> None:
        self.clock, self.zone, self.recorder = clock, zone, MemoryRecorder()
        self.url = url
        self.ledger = Ledger(
            url, flush_interval_seconds=NEVER, timezone=zone, clock=clock, retention_days=30
        )
        self.ledger.attach(self.recorder)

    def spend(self, at: str, cents: int, agent: str = "planner") -> None:
        self.clock.set(at, self.zone)
        with track_call("openai", "gpt-4o", agent_name=agent, recorder=self.recorder) as call:
            call.record_usage(input_tokens=cents * 4000, output_tokens=0)
        self.ledger.flush()

    def spend_daily(self, at: str, *cents: int, agent: str = "planner") -> None:
        """So much at the same time of the days before ``at``, the nearest first."""
        for days, each in enumerate(cents, 1):
            if each:
                moment = datetime.fromisoformat(at) - timedelta(days=days)
                self.spend(f"{moment:%Y-%m-%d %H:%M}", each, agent)

    def ratios(self, now: str) -> dict[str, float]:
        """What the metric says once the ledger's thread has been at work."""
        self.read(now)
        return self.shown()

    def today(self, now: str) -> dict[str, float]:
        """What agents have spent today, in cents, once the thread has been at work."""
        self.read(now)
        return self.shown_today()

    def read(self, now: str) -> None:
        self.clock.set(now, self.zone)
        for task in self.ledger.upkeep._tasks:
            task.not_before = 0.0
        self.ledger._writer.flush()

    def shown(self) -> dict[str, float]:
        return self._by_agent("llm_cost_anomaly_ratio")

    def shown_today(self) -> dict[str, float]:
        shown = self._by_agent("llm_cost_today_usd")
        return {agent: round(100 * usd, 9) for agent, usd in shown.items()}

    def _by_agent(self, name: str) -> dict[str, float]:
        found = self.recorder.snapshot().get(name, {"series": []})
        return {one["labels"]["agent_name"]: one["value"] for one in found["series"]}


@pytest.fixture
def clock() -> Iterator[Clock]:
    with one_clock() as clock:
        yield clock


@pytest.fixture
def history(ledger_url: str, clock: Clock) -> Iterator[History]:
    clock.set("2025-03-19 12:00")
    history = History(ledger_url, clock, "UTC")
    yield history
    history.ledger.close()


class TestTheRatio:
    def test_the_ratio_is_the_last_hour_over_the_same_hour_of_a_week(
        self, history: History
    ) -> None:
        history.spend_daily("2025-03-20 14:20", 2, 2, 2, 2, 2, 2, 2, 500)
        history.spend_daily("2025-03-20 14:20", 4, 4, 4, agent="coder")
        history.spend("2025-03-20 14:10", 4)
        history.spend("2025-03-20 14:40", 2)
        history.spend("2025-03-20 14:40", 2, agent="coder")
        assert history.ratios("2025-03-20 15:02") == {"planner": 3.0, "coder": 0.5}

    def test_the_ratio_is_of_whole_quarters_alone(self, history: History) -> None:
        history.spend_daily("2025-03-20 14:20", 2, 2, 2)
        history.spend_daily("2025-03-20 15:05", 90, 90, 90)  # the same quarter that still runs
        history.spend("2025-03-20 13:59", 7)
        history.spend("2025-03-20 14:00", 2)
        history.spend("2025-03-20 15:00", 7)
        assert history.ratios("2025-03-20 15:14") == {"planner": 1.0}

    def test_the_ratio_is_not_moved_by_one_odd_day_nor_by_days_off(self, history: History) -> None:
        history.spend_daily("2025-03-20 14:20", 2, 0, 0, 2, 900, 2)
        history.spend("2025-03-20 14:10", 6)
        assert history.ratios("2025-03-20 15:00") == {"planner": 3.0}

    def test_the_ratio_is_absent_until_three_days_are_known(self, history: History) -> None:
        history.spend_daily("2025-03-20 14:20", 2, 2)
        history.spend_daily("2025-03-20 11:20", 2, 2, 2, 2)
        history.spend("2025-03-20 14:10", 6)
        assert history.ratios("2025-03-20 15:00") == {}
        history.spend("2025-03-20 15:10", 1)
        assert history.ratios("2025-03-21 15:00") == {"planner": 0.0}  # a third, and none today

    def test_the_ratio_is_by_the_clocks_of_the_ledgers_zone(
        self, ledger_url: str, clock: Clock
    ) -> None:
        clock.set("2025-03-27 12:00")
        history = History(ledger_url, clock, "Europe/Berlin")
        history.spend_daily("2025-04-01 14:20", 2, 2, 2, 2)  # clocks went forward on 30 March
        history.spend_daily("2025-04-01 13:20", 0, 0, 50, 50)
        history.spend_daily("2025-04-01 15:20", 0, 0, 50, 50)
        history.spend("2025-04-01 14:10", 4)
        assert history.ratios("2025-04-01 15:00") == {"planner": 2.0}
        history.ledger.close()


class TestToday:
    def test_today_is_what_each_agent_has_spent_since_midnight(self, history: History) -> None:
        history.spend("2025-03-19 23:59", 90)
        history.spend("2025-03-20 00:00", 2)
        history.spend("2025-03-20 14:10", 4)
        history.spend("2025-03-20 14:20", 8, agent="coder")
        assert history.today("2025-03-20 15:00") == {"planner": 6, "coder": 8}

    def test_today_is_the_day_of_the_ledgers_zone(self, ledger_url: str, clock: Clock) -> None:
        clock.set("2025-03-29 12:00")
        history = History(ledger_url, clock, "Europe/Berlin")
        history.spend("2025-03-29 23:50", 1)  # a day of 23 hours follows
        history.spend("2025-03-30 00:10", 2)
        history.spend("2025-03-30 23:50", 4)
        assert history.today("2025-03-30 23:55") == {"planner": 6}
        history.ledger.close()

    def test_today_ends_at_midnight_even_if_nobody_has_asked_again(self, history: History) -> None:
        history.spend("2025-03-20 23:58", 4)
        assert history.today("2025-03-20 23:59") == {"planner": 4}
        history.clock.set("2025-03-21 00:00")
        assert history.shown_today() == {}

    def test_today_covers_what_other_processes_wrote(
        self, history: History, ledger_url: str, clock: Clock
    ) -> None:
        other = History(ledger_url, clock, "UTC")
        other.spend("2025-03-20 14:00", 8)
        other.ledger.close()
        history.spend("2025-03-20 14:10", 4)
        assert history.today("2025-03-20 15:00") == {"planner": 12}

    def test_today_leaves_out_who_has_only_calls_without_a_price(self, history: History) -> None:
        history.clock.set("2025-03-20 14:00")
        with track_call("openai", "x", agent_name="odd", recorder=history.recorder) as call:
            call.record_usage(input_tokens=10, output_tokens=0)
        history.ledger.flush()
        assert history.today("2025-03-20 15:00") == {}

    def test_today_is_not_known_while_the_database_is_away(
        self, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history.spend("2025-03-20 14:00", 4)
        assert history.today("2025-03-20 15:00") == {"planner": 4}

        def away(_: Database) -> None:
            raise LedgerUnavailable("it is away")

        with monkeypatch.context() as patch:
            patch.setattr(Database, "snapshot", away)
            assert history.today("2025-03-20 15:00") == {}
        assert history.today("2025-03-20 15:01") == {"planner": 4}
        history.ledger.close()
        assert history.shown_today() == {}


class TestWhenItIsRead:
    def test_nothing_is_asked_of_the_database_when_metrics_are_read(
        self, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        history.spend_daily("2025-03-20 14:20", 2, 2, 2)
        history.spend("2025-03-20 14:10", 4)
        assert history.ratios("2025-03-20 15:00") == {"planner": 2.0}

        def asked(*_: object) -> None:
            raise AssertionError("the database was asked")

        monkeypatch.setattr(Database, "_transaction", asked)
        assert history.shown() == {"planner": 2.0}
        monkeypatch.undo()

    def test_nothing_is_said_while_the_database_cannot_be_asked(
        self, history: History, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        history.spend_daily("2025-03-20 14:20", 2, 2, 2)
        assert history.ratios("2025-03-20 15:00") == {"planner": 0.0}

        def away(_: Database) -> None:
            raise LedgerUnavailable("it is away")

        with monkeypatch.context() as patch:
            patch.setattr(Database, "snapshot", away)
            assert history.ratios("2025-03-20 15:05") == {}
            assert history.ratios("2025-03-20 15:10") == {}
        assert caplog.text.count("upkeep (comparison of spend) failed: it is away") == 1
        assert history.ratios("2025-03-20 15:14") == {"planner": 0.0}

    def test_nothing_is_said_once_the_ledger_is_closed(self, history: History) -> None:
        history.spend_daily("2025-03-20 14:20", 2, 2, 2)
        assert history.ratios("2025-03-20 15:00") == {"planner": 0.0}
        history.ledger.close()
        assert history.shown() == {}

    def test_nothing_is_said_without_a_ledger(self, recorder: MemoryRecorder) -> None:
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            call.record_usage(input_tokens=4000, output_tokens=0)
        shown = recorder.snapshot()
        assert "llm_calls_total" in shown
        assert catalog.LLM_COST_ANOMALY.name not in shown

    def test_several_processes_of_one_service_say_it_once(
        self, clock: Clock, tmp_path: Path
    ) -> None:
        url, files = f"sqlite:///{tmp_path / 'spend.db'}", tmp_path / "files"
        files.mkdir()
        now = datetime.now(timezone.utc)
        half_an_hour_ago = now - timedelta(minutes=30 + now.minute % 15)
        clock.now = now.timestamp()
        history = History(url, clock, "UTC")
        history.spend_daily(f"{half_an_hour_ago:%Y-%m-%d %H:%M}", 2, 2, 2, 2)
        history.spend(f"{half_an_hour_ago:%Y-%m-%d %H:%M}", 4)
        history.ledger.close()
        environment = {
            **os.environ,
            "AGENTMETRICS_BACKEND": "prometheus",
            "PROMETHEUS_MULTIPROC_DIR": str(files),
            "PYTHONPATH": str(ROOT),
        }
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", SHOW_UNTIL_TOLD, url],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "shown\n"

        def scraped() -> dict[str, float]:
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(files))
            families = text_string_to_metric_families(generate_latest(registry).decode())
            return {
                sample.labels["agent_name"]: sample.value
                for family in families
                for sample in family.samples
                if sample.name == "llm_cost_anomaly_ratio"
            }

        deadline = time.monotonic() + 20
        while not scraped() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.2)  # both have written theirs by now
        assert scraped() == {"planner": 2.0}
        for worker in workers:
            worker.communicate("end\n", timeout=60)
