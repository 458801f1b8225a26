"""Workers that come and go: their files become few, and no count is lost or seen twice."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector as TheirCollector

from agentmetrics.backends.multiprocess import MultiprocessCollector, compaction
from tests.integration.apps import compacting

ROOT = Path(__file__).parents[2]
DEAD = 99_000_000
"""The first of many process ids that no system gives."""
JOBS = mmap_key("jobs", "jobs_total", [], [], "Jobs.")
MINUTE = 60


def worker(directory: Path, pid: int, jobs: float = 1.0, kind: str = "counter") -> MmapedDict:
    """prometheus-client's own file of a worker that has this id, open."""
    file = MmapedDict(str(directory / f"{kind}_{pid}.db"))
    file.write_value(JOBS, jobs, 0.0)
    return file


def counted(directory: Path, sample: str = "jobs_total", **labels: str) -> float:
    families = MultiprocessCollector(str(directory)).collect()
    return sum(
        s.value
        for family in families
        for s in family.samples
        if s.name == sample and labels.items() <= s.labels.items()
    )


def run(program: str, directory: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=MINUTE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(directory)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestFilesOfDeadWorkers:
    def test_a_thousand_recycled_workers_leave_a_few_files_and_every_count(
        self, tmp_path: Path
    ) -> None:
        most = 0
        for pid in range(DEAD, DEAD + 1000):
            worker(tmp_path, pid).close()
            if pid % 20 == 0:  # as one of them begins
                compaction.tidy(tmp_path)
                most = max(most, len(list(tmp_path.iterdir())))
        assert most < 2 * compaction.DEAD_FILES
        assert counted(tmp_path) == 1000

    def test_a_directory_that_nobody_has_tidied_is_small_after_one_scrape(
        self, tmp_path: Path
    ) -> None:
        for pid in range(DEAD, DEAD + 300):
            worker(tmp_path, pid).close()
        assert counted(tmp_path) == 300
        assert len(list(tmp_path.iterdir())) < 2 * compaction.DEAD_FILES
        assert counted(tmp_path) == 300

    def test_few_files_are_left_as_they_are(self, tmp_path: Path) -> None:
        for pid in range(DEAD, DEAD + compaction.DEAD_FILES - 1):
            worker(tmp_path, pid).close()
        before = sorted(tmp_path.iterdir())
        assert counted(tmp_path) == len(before)
        assert before == sorted(file for file in tmp_path.iterdir() if file.suffix == ".db")

    def test_a_file_that_somebody_has_open_stays_whatever_its_number_says(
        self, tmp_path: Path
    ) -> None:
        held = worker(tmp_path, DEAD - 1)  # as uWSGI's workers, which are numbered from 1
        for pid in range(DEAD, DEAD + 50):
            worker(tmp_path, pid).close()
        assert counted(tmp_path) == 51
        held.write_value(JOBS, 10.0, 0.0)
        assert counted(tmp_path) == 60
        held.close()

    def test_a_file_of_a_living_process_stays_open_or_not(self, tmp_path: Path) -> None:
        for pid in (os.getpid(), *range(DEAD, DEAD + 50)):
            worker(tmp_path, pid).close()
        assert counted(tmp_path) == 51
        assert (tmp_path / f"counter_{os.getpid()}.db").exists()

    def test_gauges_of_others_that_are_of_one_process_each_are_left_alone(
        self, tmp_path: Path
    ) -> None:
        for pid in range(DEAD, DEAD + 50):
            worker(tmp_path, pid, kind="gauge_all").close()
        assert counted(tmp_path) == 50
        assert len(list(tmp_path.glob("gauge_all_*.db"))) == 50

    def test_a_process_that_opens_its_file_during_a_compaction_keeps_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for pid in range(DEAD, DEAD + 20):
            worker(tmp_path, pid).close()
        opened: list[MmapedDict] = []
        read = compaction._read

        def read_slowly(files: Any) -> Any:
            contents = read(files)
            if not opened:
                opened.append(worker(tmp_path, DEAD + 7, 5.0))
            return contents

        monkeypatch.setattr(compaction, "_read", read_slowly)
        assert counted(tmp_path) == 24
        opened[0].write_value(JOBS, 6.0, 0.0)
        assert counted(tmp_path) == 25
        opened[0].close()


SKIPPED = "agentmetrics_multiprocess_files_skipped_total"


class TestTornFiles:
    @pytest.mark.parametrize("content", [b"", b"abc", b"\xff" * 100, b"SQLite format 3\0" * 9])
    def test_a_torn_file_of_a_dead_worker_is_skipped_counted_and_logged_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
    ) -> None:
        name = f"counter_{DEAD + 5000 + len(content)}.db"
        (tmp_path / name).write_bytes(content)
        worker(tmp_path, DEAD).close()
        for _ in range(3):
            assert counted(tmp_path) == 1
            assert counted(tmp_path, SKIPPED) == 1
        assert [name in record.message for record in caplog.records] == [True]

    def test_a_file_that_a_living_worker_has_just_made_is_no_torn_one(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / f"counter_{os.getpid()}.db").touch()
        assert counted(tmp_path, SKIPPED) == 0
        assert caplog.records == []

    def test_prometheus_clients_own_scrape_works_again_after_one_of_ours(
        self, tmp_path: Path
    ) -> None:
        worker(tmp_path, DEAD).close()
        (tmp_path / f"histogram_{DEAD}.db").touch()
        with pytest.raises(struct.error):
            seen_by_prometheus_client(tmp_path)
        counted(tmp_path)
        assert seen_by_prometheus_client(tmp_path) == {"jobs_total": 1.0, SKIPPED: 1.0}

    def test_a_merged_file_that_something_else_damages_is_counted_and_takes_no_other_with_it(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        for pid in range(DEAD, DEAD + 40):
            worker(tmp_path, pid).close()
        assert counted(tmp_path) == 40
        (merged,) = tmp_path.glob("counter_merged-*.db")
        merged.write_bytes(b"\xff" * 100)
        worker(tmp_path, DEAD).close()
        for _ in range(2):
            assert counted(tmp_path) == 1
            assert counted(tmp_path, SKIPPED) == 1
        assert [merged.name in record.message for record in caplog.records] == [True]
        for pid in range(DEAD, DEAD + 40):
            worker(tmp_path, pid).close()
        assert counted(tmp_path) == 40
        assert counted(tmp_path, SKIPPED) == 1

    def test_a_torn_file_that_is_merged_with_others_stays_counted(self, tmp_path: Path) -> None:
        for pid in range(DEAD, DEAD + 40):
            worker(tmp_path, pid).close()
        for pid in range(DEAD + 6000, DEAD + 6003):
            (tmp_path / f"histogram_{pid}.db").write_bytes(b"\xff" * 100)
        assert counted(tmp_path) == 40
        assert list(tmp_path.glob("histogram_99*.db")) == []
        assert counted(tmp_path, SKIPPED) == 3


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What scrapes said after a compaction was killed at its first step, its second, and so on."""
    done = subprocess.run(
        [sys.executable, compacting.__file__, tmp_path_factory.mktemp("killed")],
        capture_output=True,
        timeout=2 * MINUTE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr.decode()
    said: list[dict[str, Any]] = json.loads(done.stdout)
    return said


class TestACompactionThatIsKilled:
    def test_a_compaction_killed_at_any_step_loses_no_count_and_counts_none_twice(
        self, killed: list[dict[str, Any]]
    ) -> None:
        assert len(killed) > 30  # steps
        whole = {
            "jobs_total": 6.0,
            "took_bucket": 2.0,
            "took_count": 2.0,
            "took_sum": 2.0,
            "agentmetrics_multiprocess_files_skipped_total": 2.0,
        }
        wrong = [
            (step, when, said[when])
            for step, said in enumerate(killed)
            for when in ("at once", "after")
            if said[when] != whole
        ]
        assert wrong == []

    def test_a_compaction_killed_at_any_step_is_brought_to_its_end_by_the_next_scrape(
        self, killed: list[dict[str, Any]]
    ) -> None:
        files = {tuple(said["files"]) for said in killed}
        kinds = ("counter_merged", "histogram_merged", "summary_merged")
        assert files == {("agentmetrics.lock", *kinds)}


READ_WHILE_MERGED = """
import itertools, os, sys, time
from pathlib import Path
from agentmetrics.backends.multiprocess import collector, compaction
from agentmetrics.backends.multiprocess.directory import listing
from agentmetrics.backends.multiprocess.values import read, write

compaction.AT_ONCE = 3
directory, stop = Path(sys.argv[1]), Path(sys.argv[1], "stop")
nothing = {key: (0.0, 0.0) for key in read(next(directory.glob("*.db"))).entries}
parent = os.getpid()
for number in (1, 2):
    if not os.fork():
        for pid in itertools.count(number * 100_000_000):
            write(directory / f"counter_{pid}.db", nothing)
            compaction.compact(directory)
            time.sleep(0.01)
            if stop.exists() or os.getppid() != parent:
                os._exit(0)
seen, scrapes = set(), 0
while scrapes < 30 or listing(directory).number < 30:
    families = collector._families(collector._entries(directory))
    seen.add(sum(s.value for f in families for s in f.samples if s.name == "jobs_total"))
    scrapes += 1
    time.sleep(0.002)
stop.touch()
os.wait(), os.wait()
print(*seen)
"""


def test_scrapes_during_compactions_all_say_the_same(tmp_path: Path) -> None:
    for pid in range(DEAD, DEAD + 60):
        worker(tmp_path, pid).close()
    assert run(READ_WHILE_MERGED, tmp_path, str(tmp_path)).split() == ["60.0"]


ENDS = """
import os, sys
from agentmetrics import Metric, PrometheusRecorder, track_call
from agentmetrics.recording.exits import close_all

recorder = PrometheusRecorder()
depth = recorder.gauge(Metric("depth", "gauge", "Set, not read.", merge="sum"))
last = recorder.gauge(Metric("last", "gauge", "The last one set.", merge="last"))
def call():
    return track_call("openai", "gpt-4o", agent_name="a", recorder=recorder)
with call(): pass
in_flight = call()
in_flight.__enter__()
depth.labels().set(3)
last.labels().set(7)
recorder.flush()
if sys.argv[1] == "goes on":
    recorder.store.end()
    with call(): pass
    with track_call("openai", "gpt-4o", agent_name="another", recorder=recorder): pass
    recorder.flush()
    assert 'llm_active_calls{agent_name="a"' in recorder.exposition().body.decode()
    close_all()
    os._exit(0)
"""


def seen_by_prometheus_client(directory: Path) -> dict[str, float]:
    """The sum of each sample, by prometheus-client's own collector, which tidies up nothing.

    Calls that were open when their process ended are left out: they were cancelled.
    """
    families = TheirCollector(None, str(directory)).collect()
    totals: dict[str, float] = {}
    for sample in (sample for family in families for sample in family.samples):
        if sample.labels.get("status") != "cancelled":
            totals[sample.name] = totals.get(sample.name, 0.0) + sample.value
    return totals


class TestAWorkerThatEnds:
    def test_a_worker_that_ends_shows_nothing_in_flight_from_then_on(self, tmp_path: Path) -> None:
        run(ENDS, tmp_path, "ends")
        seen = seen_by_prometheus_client(tmp_path)
        assert seen["llm_calls_total"] == 1
        assert seen["llm_active_calls"] == seen["agentmetrics_open_runs"] == 0
        assert seen["llm_oldest_active_call_seconds"] == 0
        assert seen["depth"] == 0
        assert seen["last"] == 7  # which is no news of the moment

    def test_a_worker_that_goes_on_after_its_end_counts_and_shows_what_it_does(
        self, tmp_path: Path
    ) -> None:
        run(ENDS, tmp_path, "goes on")
        seen = seen_by_prometheus_client(tmp_path)
        assert seen["llm_calls_total"] == 3
        assert seen["llm_active_calls"] == 0

    def test_a_child_that_recorded_nothing_leaves_no_file_when_it_ends(
        self, tmp_path: Path
    ) -> None:
        program = """
import os
from agentmetrics import Metric, PrometheusRecorder, track_call
from agentmetrics.recording.exits import close_all
recorder = PrometheusRecorder()
recorder.gauge(Metric("depth", "gauge", "Set, not read.", merge="sum")).labels().set(3)
with track_call("openai", "gpt-4o", agent_name="a", recorder=recorder):
    recorder.flush()
    if not os.fork():
        close_all()
        os._exit(0)
    child, status = os.wait()
    assert status == 0
    print(child)
"""
        child = run(program, tmp_path).strip()
        assert list(tmp_path.glob(f"*_{child}.db")) == []


SUCCESSOR = """
import os
from pathlib import Path
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from agentmetrics import PrometheusRecorder, track_call

directory = Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])

def leave(kind, pid, size):  # what an earlier process of this number may have left
    path = directory / f"{kind}_{pid}.db"
    file = MmapedDict(str(path))
    for tenant in ("a", "b"):
        file.write_value(mmap_key(kind, kind, ["tenant"], [tenant], "Its."), 2.0, 0.0)
    file.close()
    os.truncate(path, size)

def work():
    with track_call("openai", "gpt-4o", agent_name="a", recorder=recorder): pass

leave("counter", os.getpid(), 140)  # the second entry is cut
leave("histogram", os.getpid(), 3)
leave("gauge_livesum", os.getpid(), 1000)
recorder = PrometheusRecorder()
work()
first = os.getpid() + 1
for pid in range(first, first + 200):
    (directory / f"counter_{pid}.db").write_bytes(b"torn")
if not os.fork():
    work()
    os._exit(0)
child, status = os.wait()
assert status == 0
samples = [s for f in recorder.scraped.collect() for s in f.samples]
for name in ("llm_calls_total", "counter", "gauge_livesum"):
    print(sum(s.value for s in samples if s.name == name))
"""


def test_a_process_with_the_number_of_one_that_left_torn_files_goes_on_from_what_they_hold(
    tmp_path: Path,
) -> None:
    calls, before, in_flight = map(float, run(SUCCESSOR, tmp_path).split())
    assert calls == 2
    assert before == 2
    assert in_flight == 0


RECYCLED = """
import os, signal, sys
from agentmetrics import MemoryRecorder, PrometheusRecorder, track_call
from agentmetrics.recording.exits import close_all

def call(recorder):
    return track_call("openai", "gpt-4o", agent_name="a", recorder=recorder)

with call(MemoryRecorder() if sys.argv[1] == "none" else PrometheusRecorder()): pass
for number in range(int(sys.argv[2])):
    pid = os.fork()
    if pid == 0:
        recorder = PrometheusRecorder()
        with call(recorder): pass
        in_flight = call(recorder)
        in_flight.__enter__()
        recorder.flush()
        if number % 2:
            os.kill(os.getpid(), signal.SIGKILL)
        close_all()
        os._exit(0)
    os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("calls_of_parent", ["none", "one"])
def test_real_workers_that_come_and_go_leave_few_files_every_count_and_nothing_in_flight(
    tmp_path: Path, calls_of_parent: str
) -> None:
    run(RECYCLED, tmp_path, calls_of_parent, "24")
    assert len(list(tmp_path.glob("*.db"))) < 2 * compaction.DEAD_FILES
    assert counted(tmp_path, "llm_calls_total", status="success") == 24 + (calls_of_parent == "one")
    assert counted(tmp_path, "llm_active_calls") == 0
    assert list(tmp_path.glob("gauge_live*")) == []
