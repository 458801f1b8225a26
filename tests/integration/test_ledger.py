"""The ledger in real databases: what it writes, and what becomes of it when they go away."""

from __future__ import annotations

import logging
import math
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from agentmetrics import Budget, Budgets, Ledger, LedgerUnavailable, MemoryRecorder, track_call
from agentmetrics.budget.ledger import database as databases
from agentmetrics.budget.ledger import engine, place, spool, tally, writer
from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.spend import Spend, Spent
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.calls.facts import FOUND, LLMCall
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.providers.usage import Usage
from tests.integration.apps import forking_ledger
from tests.services.postgres import PostgresServer
from tests.services.proxy import Break, Proxy, proxy_to

ROOT = Path(__file__).parents[2]
# Of gpt-4o: 2.50 USD a million input tokens, 10 output.
COST_OF_100_AND_10 = 350_000
NEVER = 3600.0
"""Seconds between two flushes of a ledger that a test flushes itself."""
ALL_TIME = (datetime(2000, 1, 1), datetime(2100, 1, 1))


def call(recorder: MemoryRecorder, agent: str = "planner", model: str = "gpt-4o") -> None:
    with track_call("openai", model, agent_name=agent, recorder=recorder) as tracked:
        tracked.record_usage(input_tokens=100, output_tokens=10)


def written(url: str, *columns: str) -> dict[Any, Amounts]:
    """What the database has, by the values of these columns."""
    with Database(url).snapshot() as snapshot:
        rows = snapshot.amounts(0, 2**40, columns)
    return {labels[0] if len(labels) == 1 else tuple(labels): sums for *labels, sums in rows}


def calls_written(url: str) -> int:
    return sum(amounts.calls for amounts in written(url).values())


def wait_for(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.01)


NOBODY_THERE = "refused|closed the connection"
"""What a port says that no database listens on; somebody else may by now."""


@pytest.fixture
def recorder() -> MemoryRecorder:
    """One with labels of the user's: the tenant and the task."""
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant", "task")))
    return recorder


@pytest.fixture
def ledger(ledger_url: str, recorder: MemoryRecorder) -> Iterator[Ledger]:
    """A ledger in each kind of database, which a test flushes itself."""
    with Ledger(ledger_url, flush_interval_seconds=NEVER) as ledger:
        ledger.attach(recorder)
        yield ledger


class TestSpendFromElsewhere:
    """What was counted by somebody else: summaries and budgets have it, metrics have not."""

    def test_spend_from_elsewhere_is_in_summaries_beside_calls(self, ledger, recorder):
        call(recorder)
        ledger.record_external(2.5, provider="openai", model="whisper-1", calls=40)
        total = ledger.summary("daily").total
        assert total.calls == 41
        assert total.cost_nano_usd == 2_500_000_000 + COST_OF_100_AND_10
        assert recorder.value("llm_calls_total") == 1

    def test_spend_from_elsewhere_has_its_day_its_agent_and_its_dimensions(self, ledger):
        at = datetime(2024, 5, 1, 12, tzinfo=timezone.utc)
        ledger.record_external(
            1.0,
            provider="openai",
            agent_name="scribe",
            at=at,
            labels={"tenant": "acme"},
            usage=Usage(1000, 100),
        )
        day = datetime(2024, 5, 1, tzinfo=timezone.utc)
        (group,) = ledger.summary(
            "daily", by=("agent_name", "tenant"), since=day, until=day + timedelta(days=1)
        ).groups
        assert group.labels == {"agent_name": "scribe", "tenant": "acme"}
        assert (group.amounts.input_tokens, group.amounts.unmetered_calls) == (1000, 0)

    def test_spend_from_elsewhere_counts_for_budgets(self, ledger, recorder):
        budget = Budget("openai", 3.0, scope={"provider": "openai"})
        Budgets([budget], recorder, ledger=ledger)
        budget.status()
        ledger.record_external(2.0, provider="openai")
        ledger.record_external(2.0, provider="anthropic")
        assert budget.status().spent_usd == 2.0

    @pytest.mark.parametrize(
        ("told", "said"),
        [
            ({"cost_usd": -1}, "cost_usd=-1: must be a number of at least 0"),
            ({"cost_usd": math.nan}, "cost_usd=nan: must be"),
            ({"cost_usd": 1, "calls": -1}, "calls=-1: must be at least 0"),
            ({"cost_usd": 1, "at": datetime(2999, 1, 1)}, "is in the future"),
        ],
    )
    def test_spend_from_elsewhere_that_cannot_be_is_refused(self, ledger, told, said):
        with pytest.raises(ValueError, match=said):
            ledger.record_external(**told, provider="openai")

    def test_spend_from_elsewhere_comes_too_late_for_a_closed_ledger(self, ledger):
        ledger.close()
        with pytest.raises(RuntimeError, match="the ledger is closed"):
            ledger.record_external(1.0, provider="openai")


class TestCalls:
    def test_calls_are_in_the_database_after_a_flush(self, ledger, ledger_url, recorder):
        for agent in ("planner", "planner", "writer"):
            call(recorder, agent)
        assert calls_written(ledger_url) == 0
        ledger.flush()
        assert written(ledger_url, "agent_name", "provider", "model", "status") == {
            ("planner", "openai", "gpt-4o", "success"): Amounts(
                calls=2, input_tokens=200, output_tokens=20, cost_nano_usd=2 * COST_OF_100_AND_10
            ),
            ("writer", "openai", "gpt-4o", "success"): Amounts(
                calls=1, input_tokens=100, output_tokens=10, cost_nano_usd=COST_OF_100_AND_10
            ),
        }

    def test_calls_add_up_over_flushes_and_ledgers(self, ledger, ledger_url, recorder):
        for _ in range(3):
            call(recorder)
            ledger.flush()
        other = MemoryRecorder()
        with Ledger(ledger_url) as second:
            second.attach(other)
            call(other)
        assert calls_written(ledger_url) == 4

    def test_calls_are_written_by_the_thread(self, ledger_url, recorder):
        with Ledger(ledger_url, flush_interval_seconds=0.01) as ledger:
            ledger.attach(recorder)
            for expected in (1, 2):
                call(recorder)
                wait_for(lambda: calls_written(ledger_url) == expected)  # noqa: B023

    def test_calls_are_written_when_the_ledger_is_closed_and_not_taken_after(
        self, ledger_url, recorder
    ):
        ledger = Ledger(ledger_url, flush_interval_seconds=NEVER)
        ledger.attach(recorder)
        call(recorder)
        ledger.close()
        call(recorder)
        ledger.close()
        ledger.flush()
        with pytest.raises(RuntimeError, match="the ledger is closed"):
            ledger.attach(recorder)
        assert calls_written(ledger_url) == 1
        assert recorder.value("llm_calls_total") == 2

    def test_calls_are_rows_by_quarter_of_an_hour(self, ledger, ledger_url, recorder):
        call(recorder)
        ledger.flush()
        (bucket,) = written(ledger_url, "bucket")
        assert bucket % 900 == 0
        assert 0 <= time.time() - bucket < 900 + 60

    def test_calls_have_their_extra_dimensions_in_one_column(self, ledger, ledger_url, recorder):
        from agentmetrics import labels

        with labels(tenant='A"cme', task="sum"):
            call(recorder)
        with labels(tenant="Bü\n"):
            call(recorder)
        call(recorder)
        ledger.flush()
        assert {text: sums.calls for text, sums in written(ledger_url, "dimensions").items()} == {
            '{"task":"sum","tenant":"A\\"cme"}': 1,
            '{"tenant":"Bü_"}': 1,
            "{}": 1,
        }

    def test_calls_keep_every_detail_of_their_tokens(self, ledger, ledger_url, recorder):
        with track_call("anthropic", "claude-sonnet-4-5", recorder=recorder) as tracked:
            tracked.record_usage(
                input_tokens=1000,
                output_tokens=100,
                cache_read_tokens=500,
                cache_creation_tokens=300,
                cache_creation_1h_tokens=200,
                reasoning_tokens=40,
                audio_input_tokens=30,
                audio_output_tokens=20,
            )
        ledger.flush()
        (sums,) = written(ledger_url).values()
        cost = round(recorder.value("llm_cost_usd_total") * 1e9)
        assert sums == Amounts(1, 0, 0, 1000, 100, 500, 300, 200, 40, 30, 20, cost)
        assert cost > 0

    def test_calls_without_a_price_or_tokens_are_counted_as_such(
        self, ledger, ledger_url, recorder
    ):
        call(recorder, model="a-model-of-mine")
        with track_call("openai", "gpt-4o", recorder=recorder) as tracked:
            tracked.record_usage(input_tokens=7)
        with pytest.raises(KeyError), track_call("openai", "gpt-4o", recorder=recorder):
            raise KeyError
        ledger.flush()
        assert written(ledger_url, "model", "status") == {
            ("a-model-of-mine", "success"): Amounts(
                calls=1, unpriced_calls=1, input_tokens=100, output_tokens=10
            ),
            ("gpt-4o", "success"): Amounts(
                calls=1, unpriced_calls=1, unmetered_calls=1, input_tokens=7
            ),
            ("gpt-4o", "error"): Amounts(calls=1, unmetered_calls=1),
        }
        assert recorder.value("llm_unpriced_calls_total") == 2

    def test_calls_answered_from_a_cache_are_none(self, ledger, ledger_url, recorder):
        hit = LLMCall("planner", "openai", "gpt-4o", 0.0, extra=("", ""))
        hit.lookup, hit.usage = FOUND, Usage(100, 10)
        pipeline_of(recorder).finish(hit)
        ledger.flush()
        assert written(ledger_url) == {}
        assert recorder.value("llm_cache_hits_total") == 1

    def test_calls_that_were_abandoned_are_in_the_ledger_when_it_is_closed(
        self, ledger_url, recorder
    ):
        ledger = Ledger(ledger_url, flush_interval_seconds=NEVER)
        ledger.attach(recorder)
        tracked = track_call("openai", "gpt-4o", recorder=recorder)
        tracked.__enter__()
        del tracked
        ledger.close()
        assert written(ledger_url, "status") == {"cancelled": Amounts(calls=1, unmetered_calls=1)}

    def test_calls_with_names_longer_than_an_index_takes_are_kept(
        self, ledger, ledger_url, recorder
    ):
        from agentmetrics import labels

        with labels(tenant="😀" * 300, task="☃" * 300):
            call(recorder, "\x00" + "日" * 20_000, "語" * 20_000)
            call(recorder, "\x00" + "日" * 20_000, "語" * 20_000)
        ledger.flush()
        assert written(ledger_url, "agent_name") == {
            "_" + "日" * 127: Amounts(2, 2, 0, 200, 20),
        }

    def test_calls_of_several_recorders_come_together(self, ledger, ledger_url, recorder):
        other = MemoryRecorder()
        ledger.attach(other)
        call(recorder)
        call(other)
        ledger.flush()
        assert calls_written(ledger_url) == 2

    def test_calls_past_the_limit_of_rows_keep_their_cost_under_another_name(
        self, ledger, ledger_url, recorder, monkeypatch
    ):
        monkeypatch.setattr(tally, "MAX_ROWS", 3)
        call(recorder)
        ledger.flush()
        for number in range(10):
            call(recorder, f"agent {number}")
        ledger.flush()
        found = {name: sums.calls for name, sums in written(ledger_url, "agent_name").items()}
        assert found == {"planner": 1, "agent 0": 1, "agent 1": 1, "agent 2": 1, "other": 7}
        (sums,) = written(ledger_url).values()
        assert sums.cost_nano_usd == 11 * COST_OF_100_AND_10

    def test_calls_that_come_faster_than_flushes_are_in_further_files_until_they_are_written(
        self, ledger, ledger_url, recorder, monkeypatch
    ):
        monkeypatch.setattr(spool, "SEGMENT_BYTES", spool.FIRST_SEGMENT_BYTES)
        for _ in range(2000):
            call(recorder)
        assert recorder.value("agentmetrics_spool_bytes") == 4 * spool.FIRST_SEGMENT_BYTES
        ledger.flush()
        assert recorder.value("agentmetrics_spool_bytes") == spool.FIRST_SEGMENT_BYTES
        assert calls_written(ledger_url) == 2000

    def test_calls_of_many_threads_are_all_there(self, ledger, ledger_url, recorder):
        def work(agent: str) -> None:
            for _ in range(1500):
                call(recorder, agent)

        threads = [threading.Thread(target=work, args=(f"agent {n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            ledger.flush()
        ledger.flush()
        found = written(ledger_url, "agent_name")
        assert {name: sums.calls for name, sums in found.items()} == {
            f"agent {n}": 1500 for n in range(4)
        }


class TestARelativePath:
    def test_a_relative_path_stays_what_it_was_when_the_program_goes_elsewhere(
        self, tmp_path, recorder, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        with Ledger("sqlite:///spend.db") as ledger:
            ledger.attach(recorder)
            monkeypatch.chdir("/")
            call(recorder)
        assert calls_written(f"sqlite:///{tmp_path}/spend.db") == 1


class TestMetricsAboutTheLedger:
    def test_metrics_about_the_ledger_say_what_was_written_and_what_waits(self, ledger, recorder):
        assert recorder.value("agentmetrics_ledger_pending_rows") == 0
        call(recorder)
        call(recorder, "writer")
        assert recorder.value("agentmetrics_ledger_pending_rows") == 2
        ledger.flush()
        ledger.flush()
        assert recorder.value("agentmetrics_ledger_pending_rows") == 0
        assert recorder.value("agentmetrics_ledger_writes_total", status="success") == 1
        assert recorder.value("agentmetrics_ledger_writes_total", status="error") == 0
        assert recorder.value("agentmetrics_ledger_calls_lost_total") == 0
        age = time.time() - recorder.value("agentmetrics_ledger_last_success_timestamp_seconds")
        assert 0 <= age < 60

    def test_metrics_about_the_ledger_that_cannot_be_recorded_do_not_make_a_batch_count_twice(
        self, ledger, ledger_url, recorder, monkeypatch
    ):
        def fails(self: object, *_: object) -> None:
            raise OSError

        monkeypatch.setattr("agentmetrics.meters.ledger.LedgerMeter.written", fails)
        for _ in range(2):
            call(recorder)
            ledger.flush()
        assert calls_written(ledger_url) == 2


class TestPruning:
    def test_pruning_deletes_what_began_before(self, ledger, ledger_url, recorder):
        call(recorder)
        ledger.flush()
        (bucket,) = written(ledger_url, "bucket")
        begun = datetime.fromtimestamp(bucket, timezone.utc)
        assert ledger.prune(begun) == 0
        assert ledger.prune(begun + timedelta(seconds=1)) == 1
        assert written(ledger_url) == {}

    def test_pruning_is_done_by_the_thread_where_there_is_a_retention(self, ledger_url, recorder):
        days_ago = [0.0]
        with Ledger(
            ledger_url,
            flush_interval_seconds=0.01,
            retention_days=30,
            clock=lambda: time.time() - days_ago[0] * 86_400,
        ) as ledger:
            ledger.attach(recorder)
            for age in (31, 29):
                days_ago[0] = age
                call(recorder)
                ledger._writer.write()
            assert calls_written(ledger_url) == 2
            days_ago[0] = 0.0
            for task in ledger.upkeep._tasks:
                task.not_before = 0.0
            wait_for(lambda: calls_written(ledger_url) == 1)

    def test_pruning_forgets_writers_that_are_long_gone(
        self, ledger, ledger_url, recorder, monkeypatch
    ):
        call(recorder)
        ledger.flush()
        days = databases.WRITER_MEMORY_DAYS
        later = time.time() + (days + 1) * 86_400
        with monkeypatch.context() as patched:
            patched.setattr("time.time", lambda: later)
            call(recorder, "another")
            with Ledger(ledger_url) as second:
                other = MemoryRecorder()
                second.attach(other)
                call(other)
                second.flush()
                second.prune(ALL_TIME[0])
        engine = ledger._database._engine
        with engine.connect() as connection:
            rows = connection.exec_driver_sql("SELECT writer FROM agentmetrics_ledger_writers")
            assert [row[0] for row in rows] == [second._writer.spool.writer]


class TestTheSpendOfAScope:
    def test_the_spend_of_a_scope_has_every_call_at_once(self, ledger, recorder):
        everything = ledger.follow({}, *ALL_TIME)
        writers = ledger.follow({"agent_name": "writer"}, *ALL_TIME)
        for expected in (1, 2, 3):
            call(recorder, "writer" if expected == 2 else "planner")
            assert everything.nano_usd == expected * COST_OF_100_AND_10
        assert writers.nano_usd == COST_OF_100_AND_10

    def test_the_spend_of_a_scope_begins_with_what_waits_and_gets_what_is_written_at_a_flush(
        self, ledger, ledger_url, recorder
    ):
        other = MemoryRecorder()
        with Ledger(ledger_url) as second:
            second.attach(other)
            call(other)
        call(recorder)
        spend = ledger.follow({}, *ALL_TIME)
        assert (spend.nano_usd, spend.is_current) == (COST_OF_100_AND_10, False)
        ledger.flush()
        assert (spend.nano_usd, spend.is_current) == (2 * COST_OF_100_AND_10, True)
        call(recorder)
        assert spend.nano_usd == 3 * COST_OF_100_AND_10
        for _ in range(2):
            ledger.flush()
            assert spend.nano_usd == 3 * COST_OF_100_AND_10

    def test_the_spend_of_a_scope_is_of_calls_with_all_of_its_values(self, ledger, recorder):
        from agentmetrics import labels

        scopes = {
            "tenant": {"tenant": "acme"},
            "no tenant": {"tenant": ""},
            "tenant and agent": {"agent_name": "writer", "tenant": "acme"},
            "provider and model": {"provider": "openai", "model": "gpt-4o"},
            "another model": {"model": "gpt-4o-mini"},
        }
        spends = {name: ledger.follow(scope, *ALL_TIME) for name, scope in scopes.items()}
        with labels(tenant="acme"):
            call(recorder)
            call(recorder, "writer")
        call(recorder)
        expected = {
            "tenant": 2,
            "no tenant": 1,
            "tenant and agent": 1,
            "provider and model": 3,
            "another model": 0,
        }
        for _ in range(2):
            assert {n: s.nano_usd // COST_OF_100_AND_10 for n, s in spends.items()} == expected
            ledger.flush()
            assert all(spend.is_current for spend in spends.values())

    def test_the_spend_of_a_scope_is_of_its_span_of_time(self, ledger, recorder):
        call(recorder)
        now = datetime.now(timezone.utc)
        quarter = now.replace(minute=now.minute // 15 * 15, second=0, microsecond=0)
        past = ledger.follow({}, ALL_TIME[0], quarter)
        to_come = ledger.follow({}, quarter + timedelta(minutes=15), ALL_TIME[1])
        both = ledger.follow({}, quarter, quarter + timedelta(minutes=15))
        call(recorder)
        for _ in range(2):
            assert (past.nano_usd, to_come.nano_usd) == (0, 0)
            assert both.nano_usd == 2 * COST_OF_100_AND_10
            ledger.flush()

    def test_the_spend_of_a_scope_has_the_calls_that_end_while_the_database_is_asked(
        self, ledger, recorder, monkeypatch
    ):
        spend = ledger.follow({}, *ALL_TIME)
        ask = Database.spent

        def asked(database: Database, spends: list[Spend]) -> list[Spent]:
            answers = ask(database, spends)
            call(recorder)
            return answers

        monkeypatch.setattr(Database, "spent", asked)
        for expected in (2, 4):
            call(recorder)
            ledger.flush()
            assert spend.nano_usd == expected * COST_OF_100_AND_10

    def test_the_spend_of_a_scope_is_asked_for_no_longer_when_nobody_holds_it(
        self, ledger, recorder
    ):
        spend = ledger.follow({}, *ALL_TIME)
        call(recorder)
        ledger.flush()
        assert len(ledger._writer._followed.spends) == 1
        del spend
        assert len(ledger._writer._followed.spends) == 0
        call(recorder)
        ledger.flush()


class TestSeveralWriters:
    def test_several_writers_that_touch_the_same_rows_in_another_order_never_block_each_other(
        self, ledger_url
    ):
        agents = [f"agent {number}" for number in range(150)]
        orders = (agents, agents[::-1], agents[75:] + agents[:75])
        together = threading.Barrier(len(orders))
        failures: list[Exception] = []

        def work(order: list[str]) -> None:
            recorder = MemoryRecorder()
            with Ledger(ledger_url, flush_interval_seconds=NEVER) as ledger:
                ledger.attach(recorder)
                for _ in range(10):
                    for agent in order:
                        call(recorder, agent)
                    together.wait(30)
                    try:
                        ledger.flush()
                    except LedgerUnavailable as error:
                        failures.append(error)

        threads = [threading.Thread(target=work, args=(order,)) for order in orders]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        found = written(ledger_url, "agent_name")
        assert {sums.calls for sums in found.values()} == {30}
        assert len(found) == len(agents)


class TestASnapshot:
    def test_a_snapshot_does_not_change_while_others_write(self, ledger, ledger_url, recorder):
        call(recorder)
        ledger.flush()
        with Database(ledger_url).snapshot() as snapshot:
            (before,) = snapshot.amounts(0, 2**40, ())
            call(recorder)
            ledger.flush()
            assert snapshot.amounts(0, 2**40, ()) == [before]
        assert calls_written(ledger_url) == 2


class TestAForkedProcess:
    def test_a_forked_process_writes_its_own_calls_and_leaves_the_parents_to_the_parent(
        self, ledger_url
    ):
        done = subprocess.run(
            [
                *(sys.executable, "-W", "ignore::DeprecationWarning"),
                *(forking_ledger.__file__, ledger_url),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr.decode()) == (0, "")
        found = written(ledger_url, "agent_name")
        assert {name: sums.calls for name, sums in found.items()} == {
            "parent": 5,
            "in order": 2,
            "after a flush": 2,
            "by its thread": 2,
        }


class TestADatabaseThatGoesAway:
    """PostgreSQL is stopped and started; everything that waited is there once it is back."""

    @pytest.fixture
    def url(self, postgres: Callable[[], str]) -> str:
        return postgres()

    @pytest.fixture
    def kept(self, url: str, recorder: MemoryRecorder) -> Iterator[Ledger]:
        with Ledger(url, flush_interval_seconds=NEVER) as ledger:
            ledger.attach(recorder)
            yield ledger

    @pytest.fixture
    def away(self, postgres_server: PostgresServer) -> Iterator[ExitStack]:
        """The server is away until the stack is closed."""
        with ExitStack() as back:
            postgres_server.stop()
            back.callback(postgres_server.start)
            yield back

    def test_a_database_that_goes_away_is_told_to_who_flushes_and_costs_no_calls(
        self, url, kept, recorder, away
    ):
        call(recorder)
        for _ in range(2):
            with pytest.raises(LedgerUnavailable, match=NOBODY_THERE) as told:
                kept.flush()
            assert "s3cret" not in str(told.value)
            assert kept.failure == str(told.value)
            call(recorder)
        assert recorder.value("agentmetrics_ledger_writes_total", status="error") == 2
        assert recorder.value("agentmetrics_ledger_pending_rows") == 2  # one of them is in a batch
        away.close()
        kept.flush()
        assert calls_written(url) == 3
        assert recorder.value("agentmetrics_ledger_pending_rows") == 0
        assert kept.failure is None

    def test_a_database_that_goes_away_is_logged_once_and_when_it_is_back(
        self, kept, recorder, away, caplog
    ):
        caplog.set_level(logging.WARNING, "agentmetrics")
        call(recorder)
        for _ in range(3):
            kept._writer._not_before = 0.0
            kept._writer.flush()
        away.close()
        kept.flush()
        first, second = (record.getMessage() for record in caplog.records)
        assert first.startswith(
            "the ledger cannot be written to; calls are kept until it is back: 'postgresql://"
        )
        assert second.endswith("is back; pending calls have been written")
        assert "s3cret" not in caplog.text

    def test_a_database_that_goes_away_is_tried_less_and_less_often(self, kept, recorder, away):
        call(recorder)
        kept._writer.flush()
        for _ in range(5):
            kept._writer.flush()
        assert recorder.value("agentmetrics_ledger_writes_total", status="error") == 1
        pauses = []
        for _ in range(6):
            kept._writer._interval = 0.5
            kept._writer._not_before = 0.0
            began = time.monotonic()
            kept._writer.flush()
            pauses.append(kept._writer._not_before - began)
        assert pauses[0] > 0.5
        assert max(pauses) < writer.LONGEST_PAUSE_SECONDS + 5
        assert pauses[-1] > 3 * pauses[0]

    def test_a_database_that_goes_away_may_be_away_at_the_start(self, url, recorder, away, caplog):
        caplog.set_level(logging.WARNING, "agentmetrics")
        with Ledger(url, flush_interval_seconds=NEVER) as ledger:
            assert "the ledger cannot be opened yet" in caplog.text
            assert re.search(NOBODY_THERE, str(ledger.failure))
            ledger.attach(recorder)
            call(recorder)
            away.close()
            ledger.flush()
            assert calls_written(url) == 1

    def test_a_database_that_goes_away_is_waited_for_at_the_end(self, url, recorder, away):
        ledger = Ledger(url, flush_interval_seconds=NEVER)
        ledger.attach(recorder)
        call(recorder)
        back = threading.Timer(1.0, away.close)
        back.start()
        ledger.close()
        back.join()
        assert calls_written(url) == 1

    def test_a_database_that_goes_away_is_not_waited_for_for_ever(
        self, url, recorder, away, monkeypatch, caplog
    ):
        monkeypatch.setattr(writer, "CLOSING_SECONDS", 0.3)
        ledger = Ledger(url, flush_interval_seconds=NEVER)
        ledger.attach(recorder)
        for _ in range(3):
            call(recorder)
        ledger.close()
        assert recorder.value("agentmetrics_ledger_calls_lost_total") == 0
        assert "3 calls are kept in" in caplog.text
        assert "s3cret" not in caplog.text
        away.close()
        with Ledger(url) as next_one:
            assert next_one.summary("daily").total.calls == 3

    def test_a_database_that_goes_away_loses_what_has_no_spool_and_says_so(
        self, url, recorder, away, monkeypatch, caplog
    ):
        monkeypatch.setattr(writer, "CLOSING_SECONDS", 0.3)
        monkeypatch.setattr(place, "HAS_LOCKS", False)
        ledger = Ledger(url, flush_interval_seconds=NEVER)
        ledger.attach(recorder)
        for _ in range(3):
            call(recorder)
        ledger.close()
        lost = recorder.value("agentmetrics_ledger_calls_lost_total", reason="database_away")
        assert lost == 3
        assert "lost 3 calls" in caplog.text

    def test_a_database_that_goes_away_leaves_a_followed_spend_at_what_is_known(
        self, url, kept, recorder, postgres_server
    ):
        spend = kept.follow({}, *ALL_TIME)
        call(recorder)
        kept.flush()
        postgres_server.stop()
        try:
            call(recorder)
            with pytest.raises(LedgerUnavailable):
                kept.flush()
            assert spend.nano_usd == 2 * COST_OF_100_AND_10
            late = kept.follow({}, *ALL_TIME)
            assert (late.nano_usd, late.is_current) == (COST_OF_100_AND_10, False)
        finally:
            postgres_server.start()
        kept.flush()
        assert spend.nano_usd == late.nano_usd == 2 * COST_OF_100_AND_10

    def test_a_database_that_goes_away_answers_no_question(self, kept, away):
        with pytest.raises(LedgerUnavailable, match=NOBODY_THERE):
            kept.summary("daily")
        with pytest.raises(LedgerUnavailable, match=NOBODY_THERE):
            kept.prune(ALL_TIME[0])


class TestACommitOfWhichNothingIsHeard:
    @pytest.fixture
    def proxy(self, postgres_server: PostgresServer) -> Iterator[Proxy]:
        with proxy_to(postgres_server.port) as proxy:
            yield proxy

    @pytest.mark.parametrize(
        "breaks", [Break.before_it_arrives, Break.after_it_is_done, Break.and_it_arrives_later]
    )
    def test_a_commit_of_which_nothing_is_heard_is_counted_once(
        self, breaks, proxy, postgres, postgres_server, recorder
    ):
        url = postgres()
        behind = url.replace(str(postgres_server.port), str(proxy.port))
        with Ledger(behind, flush_interval_seconds=NEVER) as ledger:
            ledger.attach(recorder)
            spend = ledger.follow({}, *ALL_TIME)
            for expected in (1, 2):
                call(recorder)
                proxy.breaks_next = breaks
                with pytest.raises(LedgerUnavailable):
                    ledger.flush()
                assert spend.nano_usd == (2 * expected - 1) * COST_OF_100_AND_10
                call(recorder)  # for the batch after the one of which nothing was heard
                ledger.flush()
                assert spend.nano_usd == 2 * expected * COST_OF_100_AND_10
                assert calls_written(url) == 2 * expected
        assert proxy.broken == 2

    def test_a_commit_of_which_nothing_is_heard_is_not_waited_for_for_ever_at_the_end(
        self, proxy, postgres, postgres_server, recorder, monkeypatch
    ):
        monkeypatch.setattr(writer, "CLOSING_SECONDS", 0.2)
        url = postgres().replace(str(postgres_server.port), str(proxy.port))
        ledger = Ledger(url, flush_interval_seconds=NEVER)
        ledger.attach(recorder)
        call(recorder)
        proxy.breaks_next = Break.in_silence

        def hang() -> None:
            with suppress(LedgerUnavailable):
                ledger.flush()

        hanging = threading.Thread(target=hang)
        hanging.start()
        wait_for(lambda: proxy.broken)
        ledger.close()
        assert hanging.is_alive()
        assert recorder.value("agentmetrics_ledger_calls_lost_total") == 0
        hanging.join()
        with Ledger(url) as next_one:
            assert next_one.summary("daily").total.calls == 1


class TestALockedFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "spend.db"

    def test_a_locked_file_is_waited_for(self, path, recorder, monkeypatch):
        url = f"sqlite:///{path}"
        monkeypatch.setattr(engine, "SQLITE_WAIT_SECONDS", 0.1)
        with Ledger(url, flush_interval_seconds=NEVER) as ledger:
            ledger.attach(recorder)
            call(recorder)
            other = sqlite3.connect(path, isolation_level=None)
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(LedgerUnavailable, match="locked"):
                ledger.flush()
            other.execute("ROLLBACK")
            other.close()
            ledger.flush()
        assert calls_written(url) == 1

    def test_a_locked_file_at_the_start_is_no_reason_to_stop(
        self, path, recorder, monkeypatch, caplog
    ):
        url = f"sqlite:///{path}"
        monkeypatch.setattr(engine, "SQLITE_WAIT_SECONDS", 0.1)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with Ledger(url, flush_interval_seconds=NEVER) as ledger:
            assert "the ledger cannot be opened yet" in caplog.text
            ledger.attach(recorder)
            call(recorder)
            other.execute("ROLLBACK")
            other.close()
        assert calls_written(url) == 1


def lost(recorder: MemoryRecorder) -> float:
    return recorder.value("agentmetrics_ledger_calls_lost_total", reason="unwritable")


def nonsense(ledger: Ledger, tokens: int) -> None:
    ledger.record_external(0.0, provider="openai", model="gpt-4o", usage=Usage(tokens, 0))


class TestNumbersThatNoDatabaseCanHold:
    def test_numbers_that_no_database_can_hold_cost_no_other_call(
        self, ledger, ledger_url, recorder, caplog
    ):
        for _ in range(1100):
            nonsense(ledger, 2**63)
        assert lost(recorder) == 1100
        assert len(caplog.records) == 1
        call(recorder)
        ledger.flush()
        assert calls_written(ledger_url) == 1

    def test_numbers_that_no_database_can_hold_in_sum_cost_no_other_row(
        self, ledger, ledger_url, recorder, caplog
    ):
        for agent in ("planner", "writer"):
            call(recorder, agent)
        for _ in range(3):
            nonsense(ledger, 2**62)
        ledger.flush()
        assert lost(recorder) == 3
        assert "lost 3 calls" in caplog.text
        assert recorder.value("agentmetrics_ledger_writes_total", status="success") == 1
        call(recorder)
        ledger.flush()
        assert calls_written(ledger_url) == 3
        assert lost(recorder) == 3
