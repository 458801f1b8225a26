"""System metrics, as one setting turns them on."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from prometheus_client import CollectorRegistry, Gauge, ProcessCollector

from agentmetrics import (
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    PrometheusRecorder,
    Recorder,
    configure,
)
from agentmetrics.catalog import PLATFORM
from agentmetrics.machine.reading import Machine
from tests.unit.test_store import in_a_child

pytestmark = pytest.mark.usefixtures("no_settings", "agent_metrics")

ROWS = {row.name for row in PLATFORM if row.name.startswith("system_")}


def shown(recorder: Recorder) -> set[str]:
    return {sample.name for sample in recorder.samples() if sample.name.startswith("system_")}


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every time that the machine is really read."""
    seen: list[object] = []
    real = Machine._read

    def read(self: Machine, now: float) -> object:
        seen.append(now)
        return real(self, now)

    monkeypatch.setattr(Machine, "_read", read)
    return seen


class TestTheSetting:
    def test_without_the_setting_there_are_no_system_metrics(self) -> None:
        recorder = configure(MemoryRecorder())
        assert shown(recorder) == set()
        with pytest.raises(ValueError, match="no metric"):
            recorder.value("system_cpu")

    def test_the_setting_in_the_environment_shows_every_one_of_them(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AGENTMETRICS_SYSTEM_METRICS", "true")
        recorder = configure(MemoryRecorder())
        recorder.collect()
        time.sleep(0.11)  # a percentage is of some time
        assert shown(recorder) == ROWS

    def test_the_setting_in_code_shows_what_psutil_says(self) -> None:
        recorder = configure(system_metrics=True)
        assert recorder.value("system_process_threads") == psutil.Process().num_threads()
        assert recorder.value("system_disk_percent") == pytest.approx(
            psutil.disk_usage("/").percent, abs=1
        )

    def test_the_setting_may_be_given_again_for_the_same_recorder(self) -> None:
        recorder = MemoryRecorder()
        configure(recorder, system_metrics=True)
        burn(0.02)
        configure(recorder, system_metrics=True)
        used = recorder.value("system_process_cpu_seconds_total")
        assert used == pytest.approx(time.process_time(), abs=0.5)

    def test_a_path_that_is_not_there_is_one_sentence(self) -> None:
        with pytest.raises(
            ConfigurationError,
            match=r"^AGENTMETRICS_SYSTEM_DISK_PATH=.*'/no/such.*there is no such path; name one",
        ):
            configure(system_metrics=True, system_disk_path="/no/such/path")

    def test_a_name_that_is_taken_is_one_sentence(self) -> None:
        registry = CollectorRegistry()
        Gauge("system_cpu_percent", "Of somebody else.", registry=registry)
        with pytest.raises(
            ConfigurationError,
            match=r"^AGENTMETRICS_SYSTEM_METRICS=True: system_cpu_percent is already on this",
        ):
            configure(PrometheusRecorder(registry), system_metrics=True)

    def test_the_names_do_not_collide_with_prometheus_clients_own_of_the_process(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        recorder = PrometheusRecorder(registry)
        configure(recorder, system_metrics=True)
        text = recorder.exposition().body.decode()
        assert "\nprocess_open_fds " in text
        assert "\nsystem_process_open_fds " in text


class TestACollection:
    def test_a_collection_reads_once_for_all_gauges(self, readings: list[object]) -> None:
        recorder = configure(MemoryRecorder(), system_metrics=True)
        recorder.collect()
        assert len(readings) == 1

    def test_a_collection_by_many_at_once_reads_no_more_than_ten_times_a_second(
        self, readings: list[object]
    ) -> None:
        inner = MemoryRecorder(), PrometheusRecorder(CollectorRegistry())
        configure(FanoutRecorder(inner), system_metrics=True)
        began = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda n: inner[n % 2].collect(), range(100)))
        assert len(readings) <= (time.monotonic() - began) * 10 + 1

    def test_a_collection_counts_every_second_of_cpu_once(self) -> None:
        recorder = configure(MemoryRecorder(), system_metrics=True)
        name = "system_process_cpu_seconds_total"
        before = recorder.value(name)
        spent = time.process_time()
        for _ in range(3):
            burn(0.11)
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(lambda _: recorder.collect(), range(8)))
        time.sleep(0.11)
        recorder.collect()
        assert recorder.value(name) - before == pytest.approx(time.process_time() - spent, abs=0.1)

    def test_a_collection_inside_an_update_waits_for_nobody(self) -> None:
        recorder = configure(MemoryRecorder(), system_metrics=True)

        def collect(_: int) -> None:
            with recorder.update():
                recorder.collect()
            recorder.collect()

        with ThreadPoolExecutor(4) as threads:
            done = threads.map(collect, range(200), timeout=30)
        assert len(list(done)) == 200

    def test_a_collection_in_a_forked_child_is_of_the_child(self) -> None:
        recorder = configure(MemoryRecorder(), system_metrics=True)
        burn(0.05)
        before = recorder.value("system_process_cpu_seconds_total")

        def in_child() -> float:
            return recorder.value("system_process_cpu_seconds_total") - before

        assert 0 <= float(in_a_child(in_child)) < 0.5

    def test_a_collection_of_a_machine_that_cannot_be_read_shows_nothing_and_raises_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        recorder = configure(MemoryRecorder(), system_metrics=True)

        def refuse(*_: object) -> None:
            raise OSError("no /proc here")

        for name in ("virtual_memory", "cpu_times", "disk_usage"):
            monkeypatch.setattr(psutil, name, refuse)
        for name in ("num_fds", "num_threads", "memory_info"):
            monkeypatch.setattr(psutil.Process, name, refuse)
        assert shown(recorder) <= {
            "system_process_cpu_seconds_total",
            "system_cpu_limit_cores",
            "system_memory_limit_bytes",
        }
