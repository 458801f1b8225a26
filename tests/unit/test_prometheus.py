"""The Prometheus backend inside one process: registries, clashes, expositions."""

from __future__ import annotations

import gc
import math
import os
import time
import weakref
from typing import Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, values
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from agentmetrics import MemoryRecorder, Metric, PrometheusRecorder, Recorder
from agentmetrics.backends import multiprocess
from agentmetrics.catalog import CATALOG
from agentmetrics.recording.values import Sample

JOBS = Metric("jobs_total", "counter", 'Jobs of a "queue".\nBy \\ status.', ("queue",))
DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))
SECONDS = Metric("wait_seconds", "histogram", "Waiting.", ("queue",), "seconds", (0.1, 1.0, 1e6))
COST = Metric("cost_usd_total", "counter", "Cost.", (), "usd")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def without_created(values: dict) -> dict:
    """Without when each series began, which only one process can say of itself."""
    return {key: value for key, value in values.items() if not key[0].endswith("_created")}


def scraped(recorder: PrometheusRecorder) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_format(recorder.exposition().body.decode())
    return by_labels(sample for family in families for sample in family.samples)


def by_labels(samples) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    found = {}
    for sample in samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        assert key not in found, f"{key} is there twice"
        found[key] = sample.value
    return found


def record(recorder: Recorder) -> None:
    recorder.counter(COST).labels().inc(0.25)
    recorder.gauge(DEPTH).labels("a").set(-1.5)
    for queue in ("a", 'b"\\', "ü\n"):
        recorder.counter(JOBS).labels(queue).inc(3)
        for observed in (0.05, 0.1, 5, math.inf):
            recorder.histogram(SECONDS).labels(queue).observe(observed)


class TestOnARegistry:
    def test_a_recorder_on_a_registry_shows_on_the_default_one_unless_another_is_given(
        self, monkeypatch, registry
    ):
        recorder = PrometheusRecorder()
        assert recorder.registry is prometheus_client.REGISTRY
        metric = Metric("test_default_registry_total", "counter", "Only here.")
        recorder.counter(metric).labels().inc(2)
        assert prometheus_client.REGISTRY.get_sample_value(metric.name) == 2
        assert b"test_default_registry_total 2.0" in prometheus_client.generate_latest()

    def test_a_recorder_on_a_registry_stands_beside_an_applications_own_metrics(self, registry):
        own = prometheus_client.Counter("orders", "Orders.", registry=registry)
        own.inc(7)
        recorder = PrometheusRecorder(registry)
        recorder.counter(JOBS).labels("a").inc()
        assert registry.get_sample_value("orders_total") == 7
        assert registry.get_sample_value("jobs_total", {"queue": "a"}) == 1

    def test_a_recorder_on_a_registry_shares_series_with_another_recorder_there(self, registry):
        first, second = PrometheusRecorder(registry), PrometheusRecorder(registry)
        first.counter(JOBS).labels("a").inc()
        second.counter(JOBS).labels("a").inc(2)
        assert scraped(first) == scraped(second)
        assert registry.get_sample_value("jobs_total", {"queue": "a"}) == 3

    def test_a_recorder_on_a_registry_shares_nothing_with_a_recorder_elsewhere(self, registry):
        first, second = PrometheusRecorder(registry), PrometheusRecorder(CollectorRegistry())
        first.counter(JOBS).labels("a").inc()
        assert scraped(second) == {}

    def test_a_recorder_on_a_registry_refuses_two_meanings_of_one_name_across_recorders(
        self, registry
    ):
        PrometheusRecorder(registry).counter(JOBS)
        with pytest.raises(ValueError, match=r"labels \['queue'\].*labels \['worker'\]"):
            PrometheusRecorder(registry).counter(Metric("jobs_total", "counter", "", ("worker",)))

    @pytest.mark.parametrize(
        "own",
        [
            lambda r: prometheus_client.Counter("jobs", "Own.", registry=r),
            lambda r: prometheus_client.Counter("jobs_total", "Own.", ["queue"], registry=r),
            lambda r: prometheus_client.Gauge("jobs_total", "Own.", registry=r),
        ],
    )
    def test_a_recorder_on_a_registry_says_in_one_sentence_when_the_application_has_the_name(
        self, registry, own
    ):
        own(registry)
        recorder = PrometheusRecorder(registry)
        recorder.gauge(DEPTH).labels("a").set(1)
        with pytest.raises(ValueError) as raised:
            recorder.counter(JOBS)
        assert str(raised.value) == (
            "jobs_total is already on this Prometheus registry, from something other than "
            "agentmetrics: unregister it or set AGENTMETRICS_NAMESPACE"
        )
        # and goes on with the rest
        recorder.gauge(DEPTH).labels("a").set(2)
        assert registry.get_sample_value("depth", {"queue": "a"}) == 2

    def test_a_recorder_on_a_registry_can_have_the_name_once_the_application_has_let_go(
        self, registry
    ):
        own = prometheus_client.Gauge("jobs_total", "Own.", registry=registry)
        recorder = PrometheusRecorder(registry)
        with pytest.raises(ValueError, match="other than agentmetrics"):
            recorder.counter(JOBS)
        registry.unregister(own)
        recorder.counter(JOBS).labels("a").inc()
        assert registry.get_sample_value("jobs_total", {"queue": "a"}) == 1

    def test_an_application_cannot_take_a_name_of_ours(self, registry):
        PrometheusRecorder(registry).counter(JOBS)
        with pytest.raises(ValueError, match="Duplicated timeseries"):
            prometheus_client.Counter("jobs", "Own.", registry=registry)

    def test_a_recorder_on_a_registry_goes_with_its_registry(self):
        registry = CollectorRegistry()
        PrometheusRecorder(registry).counter(JOBS).labels("a").inc()
        gone = weakref.ref(registry)
        del registry
        gc.collect()
        assert gone() is None


class TestAnExposition:
    def test_an_exposition_is_text_unless_asked_otherwise(self, registry):
        recorder = PrometheusRecorder(registry)
        record(recorder)
        for accept in ("", "text/plain", "*/*"):
            body, content_type = recorder.exposition(accept)
            assert content_type.startswith("text/plain; version=")
            assert b"# TYPE jobs_total counter" in body
            assert b"# EOF" not in body

    def test_an_exposition_is_openmetrics_when_the_accept_header_says_so(self, registry):
        recorder = PrometheusRecorder(registry)
        record(recorder)
        body, content_type = recorder.exposition("application/openmetrics-text; version=1.0.0")
        assert content_type.startswith("application/openmetrics-text")
        families = {family.name: family for family in openmetrics(body.decode())}
        assert families["wait_seconds"].unit == "seconds"
        assert families["jobs"].documentation == JOBS.help

    def test_an_exposition_has_the_same_values_in_both_formats(self, registry):
        recorder = PrometheusRecorder(registry)
        record(recorder)
        body = recorder.exposition("application/openmetrics-text").body.decode()
        assert by_labels(s for f in openmetrics(body) for s in f.samples) == scraped(recorder)

    def test_an_exposition_has_the_values_that_memory_has_for_the_same_updates(self, registry):
        prometheus, memory = PrometheusRecorder(registry), MemoryRecorder()
        record(prometheus)
        record(memory)
        assert without_created(scraped(prometheus)) == by_labels(memory.samples())
        assert Sample("cost_usd_total", {}, 0.25) in list(memory.samples())

    @pytest.mark.parametrize("metric", CATALOG, ids=lambda metric: metric.name)
    def test_an_exposition_names_every_metric_of_the_catalogue_as_it_is(self, registry, metric):
        recorder = PrometheusRecorder(registry)
        instrument = getattr(recorder, metric.kind)(metric)
        series = instrument.labels(*("x" for _ in metric.labels))
        suffix = ""
        if metric.kind == "histogram":
            series.observe(1)
            suffix = "_count"
        else:
            series.inc()
        labels = dict.fromkeys(metric.labels, "x")
        assert registry.get_sample_value(metric.name + suffix, labels) == 1
        parsed = openmetrics(recorder.exposition("application/openmetrics-text").body.decode())
        assert [family.type for family in parsed] == [metric.kind]

    def test_an_exposition_is_what_prometheus_client_gives_for_the_same_observations(
        self, registry
    ):
        own = CollectorRegistry()
        theirs = prometheus_client.Histogram(
            "wait_seconds",
            "Waiting.",
            ["queue"],
            unit="seconds",
            buckets=SECONDS.buckets,
            registry=own,
        )
        recorder = PrometheusRecorder(registry)
        ours = recorder.histogram(SECONDS)
        for observed in (-1, 0.1, 0.1000001, 7, 2e6, math.inf):
            ours.labels("a").observe(observed)
            theirs.labels("a").observe(observed)
        expected = by_labels(s for f in own.collect() for s in f.samples)
        found = scraped(recorder)
        created = ("wait_seconds_created", (("queue", "a"),))
        assert found.pop(created) == pytest.approx(expected.pop(created), abs=10)
        assert found == expected

    def test_an_exposition_says_when_each_counter_and_histogram_began_at_0(self, registry):
        before = time.time()
        recorder = PrometheusRecorder(registry)
        record(recorder)
        began = {
            name: value for (name, _), value in scraped(recorder).items() if "_created" in name
        }
        assert began.keys() == {"jobs_created", "cost_usd_created", "wait_seconds_created"}
        assert all(before <= moment <= time.time() for moment in began.values())
        recorder.reset()
        again = scraped(recorder)["cost_usd_created", ()]
        assert began["cost_usd_created"] <= again <= time.time()

    def test_an_exposition_says_no_beginnings_where_prometheus_client_is_told_not_to(
        self, registry, monkeypatch
    ):
        monkeypatch.setattr(prometheus_client.metrics, "_use_created", False)
        recorder = PrometheusRecorder(registry)
        record(recorder)
        assert not any("_created" in name for name, _ in scraped(recorder))


class TestMultiprocessMode:
    @pytest.mark.parametrize("directory", ["/nowhere/at/all", __file__])
    def test_multiprocess_mode_says_in_one_sentence_when_the_directory_is_none(
        self, monkeypatch, directory
    ):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", directory)
        with pytest.raises(ValueError, match="must be an existing directory") as raised:
            PrometheusRecorder(CollectorRegistry())
        assert f"PROMETHEUS_MULTIPROC_DIR={directory!r}" in str(raised.value)

    def test_multiprocess_mode_says_in_one_sentence_when_the_variable_came_too_late(
        self, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        with pytest.raises(ValueError, match="was set after prometheus_client was imported"):
            PrometheusRecorder(CollectorRegistry())

    def test_multiprocess_mode_goes_on_from_what_a_process_of_the_same_number_had_finished(
        self, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        for _ in range(2):
            monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
            recorder = PrometheusRecorder(CollectorRegistry())
            recorder.counter(JOBS).labels("a").inc(3)
            recorder.histogram(SECONDS).labels("a").observe(0.5)
            recorder.gauge(DEPTH).labels("a").inc(2)
        found = scraped(recorder)
        assert found["jobs_total", (("queue", "a"),)] == 6
        assert found["wait_seconds_count", (("queue", "a"),)] == 2
        assert found["wait_seconds_sum", (("queue", "a"),)] == 1
        assert found["depth", (("queue", "a"),)] == 2  # which is no history

    def test_multiprocess_mode_has_the_buckets_that_one_process_has(self, monkeypatch, tmp_path):
        alone = PrometheusRecorder(CollectorRegistry())
        record(alone)
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
        together = PrometheusRecorder(CollectorRegistry())
        record(together)
        assert scraped(together) == without_created(scraped(alone))

    def test_multiprocess_mode_forgets_what_a_callback_does_not_say_any_more(
        self, monkeypatch, tmp_path
    ):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        monkeypatch.setattr(values, "ValueClass", values.MultiProcessValue())
        recorder = PrometheusRecorder(CollectorRegistry())
        said: dict[tuple[str, ...], float] = {("a",): 5.0, ("b",): 7.0}
        merges: Any = ("last", "sum", "max")
        for merge in merges:
            metric = Metric(f"{merge}_of", "gauge", "Read.", ("queue",), merge=merge)
            recorder.observe_gauge(metric, lambda: said)
        read = {(f"{m}_of", (("queue", q),)): said[q,] for m in merges for q in "ab"}
        assert scraped(recorder) == read
        del said["a",]
        read.update({("sum_of", (("queue", "a"),)): 0.0, ("max_of", (("queue", "a"),)): 0.0})
        del read["last_of", (("queue", "a"),)]
        assert scraped(recorder) == read
        said["a",] = 9.0
        assert scraped(recorder)["last_of", (("queue", "a"),)] == 9.0

    def test_multiprocess_mode_sweeps_the_live_gauges_of_dead_processes_alone(self, tmp_path):
        dead = os.posix_spawn("/bin/true", ["true"], {})
        os.waitpid(dead, 0)
        names = [
            f"gauge_livesum_{dead}.db",
            f"gauge_livemostrecent_{dead}.db",
            f"gauge_livemax_{dead}.db",
            f"gauge_livesum_{os.getpid()}.db",
            f"counter_{dead}.db",
            "gauge_livesum_notes.db",
        ]
        for name in names:
            (tmp_path / name).touch()
        multiprocess.sweep_dead_workers(tmp_path)
        assert sorted(file.name for file in tmp_path.iterdir()) == sorted(names[3:])

    def test_multiprocess_mode_takes_a_zombie_for_dead(self, tmp_path):
        zombie = os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_PID, zombie, os.WEXITED | os.WNOWAIT)
        try:
            (tmp_path / f"gauge_livesum_{zombie}.db").touch()
            multiprocess.sweep_dead_workers(tmp_path)
            assert list(tmp_path.iterdir()) == []
        finally:
            os.waitpid(zombie, 0)

    def test_multiprocess_mode_takes_a_younger_process_with_the_number_for_another(self, tmp_path):
        file = tmp_path / f"gauge_livesum_{os.getpid()}.db"
        file.touch()
        os.utime(file, (0, 0))
        multiprocess.sweep_dead_workers(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_multiprocess_mode_keeps_what_a_younger_process_with_the_number_has_open(
        self, tmp_path
    ):
        file = tmp_path / f"gauge_livesum_{os.getpid()}.db"
        held = MmapedDict(str(file))
        os.utime(file, (0, 0))  # where writes to a mapped file leave its time alone
        multiprocess.sweep_dead_workers(tmp_path)
        assert file.exists()
        held.close()
        multiprocess.sweep_dead_workers(tmp_path)
        assert not file.exists()
