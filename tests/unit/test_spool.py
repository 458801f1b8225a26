"""What the ledger is owed, on disk: it outlives its process, is counted once, and is bounded."""

from __future__ import annotations

import errno
import gc
import json
import logging
import os
import random
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmetrics import ConfigurationError, Ledger, MemoryRecorder, labels, track_call
from agentmetrics.budget.ledger import leftovers, segment, spool, writer
from agentmetrics.budget.ledger import place as places
from agentmetrics.budget.ledger.database import Added, Database
from agentmetrics.budget.ledger.records import (
    PART,
    RECORD,
    check_of,
    check_of_part,
    parts_of,
    read,
)
from agentmetrics.budget.ledger.segment import HEADER_BYTES, SegmentFullError, in_memory
from agentmetrics.budget.ledger.spool import Spool
from agentmetrics.budget.ledger.tally import AMOUNTS, Amounts, Key, Tally
from agentmetrics.recording.log_once import LogOnce
from tests.unit.test_store import in_a_child

pytestmark = pytest.mark.usefixtures("no_settings")

NEVER = 3600.0
KEY = Key(900, "planner", "openai", "gpt-4o", "", "success", "{}")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'spend.db'}"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "spend.db-spool"


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


def call(recorder: MemoryRecorder, agent: str = "planner", tokens: int = 100) -> None:
    with track_call("openai", "gpt-4o", agent_name=agent, recorder=recorder) as tracked:
        tracked.record_usage(tokens, 10)


def opened(url: str, recorder: MemoryRecorder) -> Ledger:
    ledger = Ledger(url, flush_interval_seconds=NEVER)
    ledger.attach(recorder)
    return ledger


def dies(ledger: Ledger) -> None:
    """What is left of a ledger whose process is killed."""
    writer = ledger._writer
    if writer._periodic is not None:
        writer._periodic.stop()
    writer.spool.close(is_written=False)
    ledger.detach()


def calls_in(url: str, recorder: MemoryRecorder | None = None) -> int:
    """What the next one that opens the ledger finds."""
    with Ledger(url, flush_interval_seconds=NEVER) as ledger:
        if recorder is not None:
            ledger.attach(recorder)
        return ledger.summary("monthly").total.calls


def lost(recorder: MemoryRecorder) -> dict[str, float]:
    found = {
        reason: recorder.value("agentmetrics_ledger_calls_lost_total", reason=reason)
        for reason in ("database_away", "not_spooled", "torn", "too_old", "unreadable")
    }
    return {reason: calls for reason, calls in found.items() if calls}


class TestWhatAProcessLeaves:
    def test_what_a_process_leaves_is_written_by_the_next_one_that_opens_the_ledger(
        self, url, directory, recorder, caplog
    ):
        caplog.set_level(logging.WARNING, "agentmetrics")
        ledger = opened(url, recorder)
        with labels():
            for agent in ("planner", "writer", "planner"):
                call(recorder, agent)
        dies(ledger)
        (file,) = directory.iterdir()
        assert (file.stat().st_mode & 0o777, directory.stat().st_mode & 0o777) == (0o600, 0o700)
        with Ledger(url, flush_interval_seconds=NEVER) as another:
            groups = another.summary("daily").groups
            assert {g.labels["agent_name"]: g.amounts.calls for g in groups} == {
                "planner": 2,
                "writer": 1,
            }
            assert sum(g.amounts.input_tokens for g in groups) == 300
        assert not directory.exists()
        assert "the ledger has taken up 3 calls of processes that ended before" in caplog.text

    def test_what_a_process_leaves_has_every_amount_of_a_call(self, url, recorder):
        ledger = opened(url, recorder)
        with track_call("openai", "gpt-4o", recorder=recorder) as tracked:
            tracked.record_usage(
                100, 50, cache_read_tokens=30, cache_creation_tokens=20,
                cache_creation_1h_tokens=7, reasoning_tokens=11, audio_input_tokens=3,
                audio_output_tokens=5,
            )  # fmt: skip
        with track_call("openai", "no-such-model", recorder=recorder) as tracked:
            tracked.record_usage(1, 1)
        with track_call("openai", "gpt-4o", recorder=recorder):
            pass
        ledger.record_external(2.5, provider="openai", calls=40)
        ledger.record_external(1.5, provider="anthropic", calls=2)
        dies(ledger)
        with Ledger(url) as another:
            total = another.summary("daily").total
        assert (total.calls, total.unpriced_calls, total.unmetered_calls) == (45, 2, 43)
        assert (total.cache_read_tokens, total.audio_output_tokens) == (30, 5)
        assert total.reasoning_tokens == 11
        assert total.cache_creation_1h_tokens == 7
        assert total.cost_nano_usd == 4_000_000_000

    def test_what_a_process_leaves_is_taken_up_by_a_sibling_that_goes_on(self, url, recorder):
        other = MemoryRecorder()
        sibling = opened(url, other)
        dying = opened(url, recorder)
        call(recorder)
        call(other)
        dies(dying)
        for task in sibling.upkeep._tasks:
            task.not_before = 0.0
        sibling._writer.flush()
        with Database(url).snapshot() as snapshot:
            ((sums),) = snapshot.amounts(0, 2**40, ())
        assert sums[-1].calls == 2
        sibling.close()

    def test_what_a_process_leaves_is_counted_once_however_much_of_it_was_written(
        self, url, recorder, monkeypatch
    ):
        ledger = opened(url, recorder)
        for _ in range(3):
            call(recorder)
        ledger.flush()
        for _ in range(4):
            call(recorder)
        dies(ledger)
        with monkeypatch.context() as patched:  # killed between the commit and the removal
            patched.setattr(Path, "unlink", lambda *_: None)
            assert calls_in(url) == 7
        assert calls_in(url) == 7

    def test_what_a_process_leaves_is_counted_once_when_many_take_it_up_at_once(
        self, url, recorder
    ):
        for _ in range(5):
            ledger = opened(url, recorder)
            for _ in range(20):
                call(recorder)
            dies(ledger)
        together = threading.Barrier(4)
        found: list[int] = []

        def take_up() -> None:
            together.wait(30)
            found.append(calls_in(url))

        threads = [threading.Thread(target=take_up) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        assert calls_in(url) == 100

    def test_what_a_process_leaves_stays_while_the_database_is_away(
        self, url, directory, recorder, monkeypatch
    ):
        ledger = opened(url, recorder)
        call(recorder)
        dies(ledger)
        (tmp := directory.parent / "spend.db").rename(away := directory.parent / "elsewhere.db")
        tmp.mkdir()
        with pytest.raises(ConfigurationError):
            Ledger(url)
        tmp.rmdir()
        away.rename(tmp)
        assert calls_in(url) == 1

    def test_what_a_live_process_has_is_left_alone(self, url, recorder):
        ledger = opened(url, recorder)
        call(recorder)

        def calls_a_child_finds() -> int:
            with Ledger(url, flush_interval_seconds=NEVER) as other:
                return other.summary("daily").total.calls

        assert in_a_child(calls_a_child_finds) == "0"
        assert calls_in(url) == 0  # nor does this process take from itself
        ledger.close()
        assert calls_in(url) == 1

    def test_what_an_ended_process_has_written_leaves_no_file(self, url, directory, recorder):
        ledger = opened(url, recorder)
        call(recorder)
        assert len(list(directory.iterdir())) == 1
        ledger.close()
        assert not directory.exists()


class TestADatabaseThatIsNotTheOneOfBefore:
    def test_a_database_that_was_replaced_gets_what_comes_from_then_on(
        self, url, recorder, tmp_path
    ):
        ledger = opened(url, recorder)
        call(recorder)
        ledger.flush()
        for file in tmp_path.glob("spend.db*"):
            if file.is_file():
                file.unlink()
        ledger._database._is_prepared = False
        call(recorder)
        ledger.close()
        assert calls_in(url) == 1

    def test_a_database_of_before_the_last_batch_gets_that_batch_again(self, url, recorder):
        ledger = opened(url, recorder)
        call(recorder)
        ledger.flush()
        mark = ledger._writer._sums.written
        for _ in range(2):
            call(recorder)
        ledger.flush()
        with ledger._database._writing() as connection:  # as a backup has it
            connection.exec_driver_sql("UPDATE agentmetrics_ledger SET calls = 1")
            connection.exec_driver_sql(f"UPDATE agentmetrics_ledger_writers SET batch = {mark}")
        call(recorder)
        ledger.close()
        assert calls_in(url) == 4

    def test_a_process_that_was_taken_for_dead_counts_nothing_twice(
        self, url, directory, recorder, monkeypatch
    ):
        ledger = opened(url, recorder)
        for _ in range(3):
            call(recorder)
        with monkeypatch.context() as patched:  # as a file system has it that knows no locks
            patched.setattr(segment, "held", set())
            patched.setattr(leftovers, "held", set())
            patched.setattr(leftovers, "lock", lambda file: True)
            assert calls_in(url) == 3
        assert not directory.exists()
        for _ in range(2):
            call(recorder)
        ledger._writer.flush()
        assert calls_in(url) == 5
        assert len(list(directory.iterdir())) == 1  # a new one: the process is alive
        call(recorder)
        dies(ledger)
        assert calls_in(url) == 6


class TestADamagedFile:
    @pytest.fixture
    def file(self, url: str, directory: Path, recorder: MemoryRecorder) -> Path:
        """What a process left that had made ten calls, of two agents."""
        ledger = opened(url, recorder)
        for number in range(10):
            call(recorder, f"agent {number % 2}")
        dies(ledger)
        (file,) = directory.iterdir()
        return file

    def test_a_damaged_file_is_read_up_to_where_it_was_cut(self, file, url, recorder):
        os.truncate(file, self._last(file) + RECORD.size // 2)
        assert calls_in(url, recorder) == 9
        assert lost(recorder) == {"torn": 1}

    def _last(self, file: Path) -> int:
        """Where its last record is."""
        data = file.read_bytes()
        places = range(HEADER_BYTES, len(data), RECORD.size)
        return max(at for at in places if any(data[at : at + RECORD.size]))

    def test_a_damaged_file_loses_the_records_whose_check_fails(self, file, url, recorder):
        data = bytearray(file.read_bytes())
        data[self._last(file) + 34] ^= 0x10  # the input tokens of one
        file.write_bytes(data)
        assert calls_in(url, recorder) == 9
        assert lost(recorder) == {"torn": 1}

    def test_a_damaged_file_that_is_none_of_ours_is_set_aside_and_counted(
        self, file, url, directory, recorder, caplog
    ):
        data = bytearray(file.read_bytes())
        data[:4] = b"what"
        file.write_bytes(data)
        with Ledger(url, flush_interval_seconds=NEVER) as ledger:
            ledger.attach(recorder)
            assert ledger.summary("daily").total.calls == 0
        assert lost(recorder)["unreadable"] >= 10
        assert [left.suffix for left in directory.iterdir()] == [".unreadable"]
        assert "is no spool that can be read" in caplog.text

    def test_a_damaged_file_that_is_empty_is_set_aside(self, file, url, directory, recorder):
        file.write_bytes(b"")
        assert calls_in(url, recorder) == 0
        assert [left.suffix for left in directory.iterdir()] == [".unreadable"]

    def test_a_file_of_a_newer_version_is_left_for_it(self, file, url, recorder, caplog):
        data = bytearray(file.read_bytes())
        data[8] = segment.VERSION + 1
        file.write_bytes(data)
        assert calls_in(url, recorder) == 0
        assert file.exists()
        assert lost(recorder) == {}
        assert "is of a newer version of agentmetrics" in caplog.text

    def test_a_file_of_an_older_version_is_written(self, file, url, recorder):
        data = bytearray(file.read_bytes())
        data[8] = 1
        file.write_bytes(data)
        assert calls_in(url, recorder) == 10

    def test_a_key_of_an_older_version_says_nothing_of_whose_figure_the_cost_is(self):
        older: Any = KEY._replace(agent_name="a")[:-1]
        [(number, where, text)] = parts_of(1, older)
        part = PART.pack(number, where, text, check_of_part(number, where, text, 1))
        amounts = (1, *[0] * 10, 7)
        record = RECORD.pack(1, *amounts, check_of((1, *amounts), 2))
        (found,) = read(part + record, 1)
        assert found.key == KEY._replace(agent_name="a", cost_source="")

    def test_a_file_of_another_machine_is_left_alone_until_nobody_touches_it_any_more(
        self, file, url, recorder, monkeypatch
    ):
        monkeypatch.setattr(leftovers, "host", lambda: "another")
        assert calls_in(url, recorder) == 0
        before = time.time() - leftovers.OTHER_HOST_SECONDS - 60
        os.utime(file, (before, before))
        assert calls_in(url, recorder) == 10

    def test_a_file_that_was_never_finished_is_removed_after_a_while(self, url, directory):
        directory.mkdir()
        new = directory / "0123-000000000001.new"
        new.write_bytes(b"")
        assert calls_in(url) == 0
        assert new.exists()
        os.utime(new, (0, 0))
        assert calls_in(url) == 0
        assert not new.exists()

    def test_a_file_that_was_left_for_longer_than_writers_are_remembered_is_lost_and_counted(
        self, file, url, recorder, monkeypatch
    ):
        later = time.time() + 91 * 86_400
        with monkeypatch.context() as patched:
            patched.setattr("time.time", lambda: later)
            assert calls_in(url, recorder) == 0
        assert lost(recorder) == {"too_old": 10}


RECORDS = st.lists(
    st.tuples(st.sampled_from("abc"), st.lists(st.integers(0, 2**40), min_size=12, max_size=12)),
    max_size=30,
)


def written(records: list[tuple[str, list[int]]]) -> tuple[segment.Segment, bytes]:
    room = in_memory(5, 400)
    for name, amounts in records:
        key = KEY._replace(agent_name=name, dimensions=json.dumps({"tenant": "é" * 60}))
        number = room.numbers.get(name) or room.define(name, key)
        room.append(number, tuple(amounts))
    return room, bytes(room.buffer)


class TestAnythingThatIsRead:
    @given(records=RECORDS)
    def test_anything_that_is_read_is_what_was_written(self, records):
        _, data = written(records)
        found = [(found.key.agent_name, list(found.amounts)) for found in read(data, 5)]  # type: ignore[union-attr]
        assert found == records

    @settings(max_examples=200)
    @given(records=RECORDS, at=st.floats(0, 1, exclude_max=True), bits=st.integers(1, 255))
    def test_anything_that_is_read_of_a_file_with_a_wrong_byte_was_written(self, records, at, bits):
        _, data = written(records)
        damaged = bytearray(data)
        damaged[int(at * len(data))] ^= bits
        found = list(read(bytes(damaged), 5))
        for one in found:
            if one.key is not None:
                assert (one.key.agent_name, list(one.amounts)) in records
        assert sum(one.key is not None for one in found) <= len(records)

    @given(records=RECORDS, keep=st.floats(0, 1))
    def test_anything_that_is_read_of_a_cut_file_is_a_beginning(self, records, keep):
        _, data = written(records)
        found = [one for one in read(data[: int(keep * len(data))], 5) if one.key is not None]
        assert [list(one.amounts) for one in found] == [a for _, a in records[: len(found)]]


class TestADiskThatDoesNotTakeIt:
    """The agent goes on, and so does the ledger."""

    @pytest.mark.parametrize("error", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
    def test_a_disk_that_does_not_take_it_is_told_once_and_used_again_when_it_does(
        self, error, url, directory, recorder, monkeypatch, caplog
    ):
        def refuses(*_: object) -> None:
            raise OSError(error, os.strerror(error))

        with monkeypatch.context() as patched:
            patched.setattr(segment, "_reserve", refuses)
            ledger = opened(url, recorder)
            for _ in range(3 * spool.MEMORY_PLACES):
                call(recorder)
            assert recorder.value("agentmetrics_spool_bytes") == 0
            assert list(directory.iterdir()) == []
            ledger._writer.flush()
        assert len([r for r in caplog.records if "spool cannot be written" in r.message]) == 1
        call(recorder)
        ledger._writer.flush()
        call(recorder)
        assert recorder.value("agentmetrics_spool_bytes") == spool.SEGMENT_BYTES
        dies(ledger)
        assert calls_in(url) == 3 * spool.MEMORY_PLACES + 2

    def test_a_disk_that_takes_no_more_is_told_to_those_who_take_up_the_rest(
        self, url, recorder, monkeypatch
    ):
        ledger = opened(url, recorder)
        call(recorder)
        monkeypatch.setattr(spool, "MOST_BYTES", 0)
        with suppress(SegmentFullError):
            while True:
                ledger._writer.spool.segment.append(1, (0,) * len(AMOUNTS))
        for _ in range(5):
            call(recorder)
        ledger._writer._not_before = float("inf")
        ledger._writer.flush()
        dies(ledger)
        other = MemoryRecorder()
        assert calls_in(url, other) == 1
        assert lost(other)["not_spooled"] >= 5

    def test_a_disk_that_takes_it_again_just_when_a_segment_is_full_costs_no_call(
        self, url, directory, recorder, monkeypatch
    ):
        monkeypatch.setattr(spool, "MEMORY_PLACES", 20)
        looked_after: list[segment.Segment] = []
        is_at_its_path = segment.Segment.is_at_its_path

        def grows_meanwhile(looked_at: segment.Segment) -> bool:
            looked_after.append(looked_at)
            while ledger._writer.spool.segment is looked_after[0]:  # as another thread may
                call(recorder)
            return is_at_its_path(looked_at)

        ledger = opened(url, recorder)
        with monkeypatch.context() as patched:
            patched.setattr(segment, "_reserve", lambda *_: os.posix_fallocate(-1, 0, 1))
            call(recorder)
        with monkeypatch.context() as patched:
            patched.setattr(segment.Segment, "is_at_its_path", grows_meanwhile)
            ledger._writer.spool.look_after(0)
        for _ in range(100):
            call(recorder)
        made = recorder.value("llm_calls_total")
        ledger.flush()
        assert ledger.summary().total.calls == made > 101
        dies(ledger)
        assert calls_in(url) == made

    def test_a_directory_that_is_removed_is_made_again(self, url, directory, recorder):
        ledger = opened(url, recorder)
        call(recorder)
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()
        call(recorder)
        ledger._writer.spool.look_after(2)
        call(recorder)
        dies(ledger)
        assert calls_in(url) == 1  # the others went with the directory

    def test_a_directory_that_is_removed_costs_nothing_while_its_process_lives(
        self, url, directory, recorder
    ):
        ledger = opened(url, recorder)
        call(recorder)
        for file in directory.iterdir():
            file.unlink()
        directory.rmdir()
        ledger._writer.flush()
        call(recorder)
        ledger.close()
        assert calls_in(url) == 2

    def test_a_directory_of_somebody_else_is_not_used(
        self, url, directory, recorder, monkeypatch, caplog
    ):
        directory.mkdir()
        monkeypatch.setattr(places, "_is_of_others", lambda directory: True)
        ledger = opened(url, recorder)
        call(recorder)
        assert "belongs to another user" in caplog.text
        ledger.close()
        assert calls_in(url) == 1

    def test_a_directory_has_a_bound(self, url, recorder, monkeypatch, caplog):
        monkeypatch.setattr(places, "MOST_BYTES", 10)
        ledger = opened(url, recorder)
        call(recorder)
        assert "wait for the database" in caplog.text
        ledger.close()
        assert calls_in(url) == 1


class TestTheDirectory:
    def test_the_directory_that_is_chosen_has_one_for_each_ledger(self, tmp_path, recorder):
        chosen = tmp_path / "spools"
        for name in ("a", "b"):
            url = f"sqlite:///{tmp_path}/{name}.db"
            ledger = Ledger(url, spool_dir=chosen, flush_interval_seconds=NEVER)
            ledger.attach(recorder)
            call(recorder)
            dies(ledger)
        assert len(list(chosen.iterdir())) == 2
        with Ledger(f"sqlite:///{tmp_path}/a.db", spool_dir=chosen) as ledger:
            assert ledger.summary("daily").total.calls == 1
        assert len(list(chosen.iterdir())) == 1

    def test_the_directory_that_is_chosen_must_not_be_a_file(self, url, tmp_path):
        (file := tmp_path / "file").write_text("")
        with pytest.raises(ConfigurationError, match="is a file: name a directory"):
            Ledger(url, spool_dir=file)

    def test_the_directory_of_postgresql_is_the_same_for_every_user_name_and_password(self):
        from agentmetrics.budget.ledger.engine import checked_url

        asked = [
            places.spool_place(checked_url(url), None)
            for url in (
                "postgresql://a:b@db:5432/spend",
                "postgresql://c@db:5432/spend",
                "postgresql://c@db:5432/other",
            )
        ]
        first, second, third = (found.directory for found in asked if found)
        assert first == second != third


class TestAppending:
    def spool(self) -> Spool:
        return Spool(None, LogOnce())

    def append(self, to: Spool, calls: int = 1) -> None:
        room = to.segment
        while True:
            try:
                number = room.numbers.get(KEY) or room.define(KEY, KEY)
                room.append(number, (calls,) + (0,) * 11)
            except SegmentFullError:
                room = to.grow(room)
            else:
                return

    def taken(self, of: Spool) -> int:
        return sum(amounts[0] for _, amounts in of.take())

    def test_appending_by_many_threads_is_taken_once_each(self):
        owed, total = self.spool(), 0

        def work() -> None:
            for _ in range(5000):
                self.append(owed)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            total += self.taken(owed)
            owed.forget(owed.taken)
        assert total + self.taken(owed) == 20_000

    def test_appending_goes_on_where_somebody_was_told_to_stop_who_made_room(self):
        class Told(list):
            """Room that was just made, of which nobody else hears any more."""

            def append(self, made: segment.Segment) -> None:
                super().append(made)
                if len(self) == 2:
                    raise KeyboardInterrupt

        owed = self.spool()
        owed._segments = Told()
        for _ in range(2 * spool.MEMORY_PLACES):
            with suppress(KeyboardInterrupt):
                self.append(owed)
        assert [each.first for each in owed._segments[:2]] == [1, 1 + spool.MEMORY_PLACES]
        assert self.taken(owed) == 2 * spool.MEMORY_PLACES - 1

    def test_appending_that_was_broken_off_holds_up_what_comes_after_for_a_while_only(self):
        owed = self.spool()
        self.append(owed)
        owed.segment.next_place()  # of a thread that was ended by an exception just then
        self.append(owed)
        assert self.taken(owed) == 1
        owed.patience_seconds = 0.0
        assert self.taken(owed) == 1

    def test_appending_that_has_not_gone_on_is_seen_without_reading_all_that_is_free(self):
        class Counted(bytearray):
            read = 0

            def __getitem__(self, at):
                found = super().__getitem__(at)
                Counted.read += len(found)
                return found

        owed = self.spool()
        self.append(owed)
        assert self.taken(owed) == 1
        owed.segment.buffer = Counted(owed.segment.buffer)
        assert self.taken(owed) == 0
        assert 0 < Counted.read < len(owed.segment.buffer) / 10

    def test_appending_in_the_middle_of_appending_is_one_place_further(self, url, recorder):
        """The collector ends abandoned calls at any instruction."""
        ledger = opened(url, recorder)
        before = gc.get_threshold()

        def stream():
            with track_call("openai", "gpt-4o", recorder=recorder) as tracked:
                tracked.record_usage(10, 5)
                yield

        try:
            for number in range(3000):
                gc.set_threshold(random.randint(1, 60))
                left = stream()
                next(left)
                cycle = [left]
                cycle.append(cycle)
                del left, cycle
                call(recorder)
                if number % 100 == 0:
                    ledger.flush()
        finally:
            gc.set_threshold(*before)
        gc.collect()
        ledger.close()
        assert recorder.value("llm_calls_total") == calls_in(url) == 6000

    def test_a_flush_in_the_middle_of_an_addition_leaves_that_call_to_the_next_one(
        self, url, recorder, monkeypatch
    ):
        """As a signal handler does it."""
        ledger = opened(url, recorder)
        for _ in range(3):
            call(recorder)
        add = Tally.add

        def interrupted(tally: Tally, key: Key, amounts: tuple[int, ...]) -> None:
            ledger.flush()
            add(tally, key, amounts)

        with monkeypatch.context() as patched:
            patched.setattr(Tally, "add", interrupted)
            ledger.pending_rows()
        dies(ledger)
        assert calls_in(url) == 3

    @pytest.mark.parametrize("is_added", [True, False])
    def test_an_addition_that_is_broken_off_is_made_anew(
        self, is_added, url, recorder, monkeypatch
    ):
        ledger = opened(url, recorder)
        for _ in range(3):
            call(recorder)
        add, calls = Tally.add, iter(range(9))

        def broken_off(tally: Tally, key: Key, amounts: tuple[int, ...]) -> None:
            is_second = next(calls) == 1
            if not is_second or is_added:
                add(tally, key, amounts)
            if is_second:
                raise KeyboardInterrupt

        monkeypatch.setattr(Tally, "add", broken_off)
        with pytest.raises(KeyboardInterrupt):
            ledger.pending_rows()
        ledger.close()
        assert calls_in(url) == 3

    def test_an_amount_that_no_database_holds_takes_a_place_and_adds_nothing(self):
        owed = self.spool()
        self.append(owed)
        with pytest.raises(OverflowError):
            owed.segment.append(1, (2**63,) + (0,) * 11)
        self.append(owed)
        assert self.taken(owed) == 2

    def test_a_tally_of_what_was_taken_is_the_sum(self):
        owed, tally = self.spool(), Tally()
        for calls in (1, 2, 3):
            self.append(owed, calls)
        for key, amounts in owed.take():
            tally.add(key, amounts)
        assert [row.calls for row in tally.rows.values()] == [6]
        assert Amounts(calls=6).calls == tally.calls


def test_a_child_of_a_fork_has_a_file_of_its_own(url, directory, recorder) -> None:
    ledger = opened(url, recorder)
    call(recorder)
    (parents,) = directory.iterdir()
    before = parents.read_bytes()

    def in_child() -> int:
        call(recorder)
        return len(list(directory.iterdir()))

    assert in_a_child(in_child) == "2"
    assert parents.read_bytes() == before
    ledger.close()
    assert calls_in(url) == 2


def test_a_file_that_goes_while_its_directory_is_measured_is_no_full_disk(
    tmp_path: Path,
) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")  # listed, and not there when it is asked
    places.SpoolPlace(tmp_path).prepare(1024)
    assert list(tmp_path.iterdir()) == [tmp_path / "gone"]


def test_a_close_beside_a_write_that_has_no_answer_yet_says_that_its_calls_are_unknown(
    url, recorder, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(writer, "CLOSING_SECONDS", 0.2)
    ledger = opened(url, recorder)
    call(recorder)
    add, reached, may_go_on = Database.add, threading.Event(), threading.Event()

    def without_answer(database: Database, *batch: Any) -> Added:
        added = add(database, *batch)
        reached.set()
        assert may_go_on.wait(60)
        return added

    monkeypatch.setattr(Database, "add", without_answer)
    writes = threading.Thread(target=ledger.flush)
    writes.start()
    try:
        assert reached.wait(60)
        call(recorder)
        with caplog.at_level(logging.WARNING):
            ledger.close()
    finally:
        may_go_on.set()
        writes.join(60)
    assert "2 calls are kept in" in caplog.text
    assert "whether 1 of them are written already" in caplog.text
    monkeypatch.undo()
    assert calls_in(url) == 2


def test_places_that_are_left_unwritten_are_waited_for_together(url, recorder, monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    ledger = opened(url, recorder)
    for _ in range(5):
        call(recorder)
        ledger._writer.spool.segment.next_place()  # whoever was to write there was interrupted
    call(recorder)
    assert ledger.summary().total.calls == 1
    now[0] += spool.HOLE_SECONDS
    assert ledger.summary().total.calls == 6
    ledger.close()
