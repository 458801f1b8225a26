"""Layers: several backends at once, prefixes, common labels, the cardinality limit."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import replace

import pytest

from agentmetrics import (
    CardinalityLimit,
    CommonLabels,
    FanoutRecorder,
    MemoryRecorder,
    Metric,
    Namespace,
)
from agentmetrics.pipeline import Options, pipeline_of

JOBS = Metric(
    "jobs_total", "counter", "Jobs.", ("queue", "status"), closed_labels=frozenset({"status"})
)
DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))
SECONDS = Metric("seconds", "histogram", "Durations.", ("queue",), buckets=(1.0,))
UP = Metric("up", "gauge", "Up.")


class Broken(MemoryRecorder):
    """A backend that fails at everything that a source does while it runs."""

    def bind_counter(self, metric, values):
        raise OSError("secret")

    bind_gauge = bind_histogram = bind_counter

    @contextmanager
    def update(self):
        raise OSError("secret")
        yield

    def flush(self):
        raise OSError("secret")

    reset = close = flush


class BrokenSeries:
    """A series that fails at every update."""

    def inc(self, amount=1.0):
        raise OSError("secret")

    dec = set = observe = inc


class BrokenLater(MemoryRecorder):
    def bind_counter(self, metric, values):
        return BrokenSeries()

    bind_gauge = bind_histogram = bind_counter


class TestAFanout:
    def test_a_fanout_gives_every_backend_every_update(self):
        backends = [MemoryRecorder(), MemoryRecorder()]
        fanout = FanoutRecorder(backends)
        fanout.counter(JOBS).labels("a", "ok").inc(2)
        fanout.histogram(SECONDS).labels("a").observe(0.5)
        fanout.gauge(DEPTH).labels("a").set(5)
        fanout.gauge(DEPTH).labels("a").inc(2)
        fanout.gauge(DEPTH).labels("a").dec()
        fanout.observe_gauge(UP, lambda: 1.0)
        assert [backend.snapshot() for backend in backends] == [backends[0].snapshot()] * 2
        assert backends[1].value("jobs_total") == 2
        assert backends[1].value("depth") == 6
        assert backends[1].value("up") == 1
        fanout.reset()
        assert [backend.value("jobs_total") for backend in backends] == [0, 0]

    @pytest.mark.parametrize("broken", [Broken, BrokenLater])
    @pytest.mark.parametrize("first", [True, False])
    def test_a_fanout_loses_nothing_in_the_others_when_one_fails(self, broken, first):
        good = MemoryRecorder()
        fanout = FanoutRecorder([broken(), good] if first else [good, broken()])
        with fanout.update():
            fanout.counter(JOBS).labels("a", "ok").inc()
            fanout.gauge(DEPTH).labels("a").set(5)
            fanout.gauge(DEPTH).labels("a").inc()
            fanout.gauge(DEPTH).labels("a").dec(2)
            fanout.histogram(SECONDS).labels("a").observe(0.5)
            batch = fanout.batch(
                [fanout.counter(JOBS).labels("a", "failed")],
                [fanout.gauge(DEPTH).labels("b")],
                [],
            )
            batch(3, 7)
        fanout.flush()
        assert good.value("jobs_total", status="ok") == 1
        assert good.value("jobs_total", status="failed") == 3
        assert good.value("depth", queue="a") == 4
        assert good.value("depth", queue="b") == 7
        assert good.histogram("seconds").count == 1
        fanout.reset()
        assert good.value("jobs_total") == 0
        fanout.close()

    def test_a_fanout_stays_usable_for_other_threads_after_an_update_that_one_backend_failed_at(
        self,
    ):
        good = MemoryRecorder()
        fanout = FanoutRecorder([good, Broken()])
        with fanout.update():
            pass
        other = threading.Thread(
            target=lambda: fanout.counter(JOBS).labels("a", "ok").inc(), daemon=True
        )
        other.start()
        other.join(10)
        assert good.value("jobs_total") == 1

    def test_a_fanout_logs_a_failure_once_a_kind_and_without_its_text(self, caplog):
        fanout = FanoutRecorder([MemoryRecorder(), BrokenLater()])
        with caplog.at_level(logging.WARNING, "agentmetrics"):
            for _ in range(3):
                fanout.counter(JOBS).labels("a", "ok").inc()
        here = threading.get_ident()  # what another test has logged under a lock comes of another
        assert [each.getMessage() for each in caplog.records if each.thread == here] == [
            "a backend failed in inc: OSError; the others continue"
        ]

    def test_a_fanout_refuses_a_wrong_amount_before_any_backend_has_it(self):
        backends = [MemoryRecorder(), MemoryRecorder()]
        jobs = FanoutRecorder(backends).counter(JOBS).labels("a", "ok")
        with pytest.raises(ValueError, match="cannot be incremented by -1"):
            jobs.inc(-1)
        assert [backend.value("jobs_total") for backend in backends] == [0, 0]

    def test_a_fanout_needs_a_recorder(self):
        with pytest.raises(ValueError, match="at least one recorder"):
            FanoutRecorder([])


class TestANamespace:
    def test_a_namespace_prefixes_every_name(self):
        memory = MemoryRecorder()
        shop = Namespace(memory, "shop")
        shop.counter(JOBS).labels("a", "ok").inc()
        shop.observe_gauge(UP, lambda: 1.0)
        assert memory.value("shop_jobs_total") == 1
        assert memory.value("shop_up") == 1

    def test_a_namespace_refuses_an_illegal_prefix_when_it_is_made(self):
        with pytest.raises(ValueError, match="not a valid metric name"):
            Namespace(MemoryRecorder(), "my shop")


class TestCommonLabels:
    def test_common_labels_are_on_every_series(self):
        memory = MemoryRecorder()
        layer = CommonLabels(memory, {"env": "prod"})
        layer.counter(JOBS).labels("a", "ok").inc()
        layer.observe_gauge(UP, lambda: 1.0)
        layer.observe_gauge(DEPTH, lambda: {("a",): 2.0})
        assert memory.value("jobs_total", env="prod", queue="a") == 1
        assert memory.value("up", env="prod") == 1
        assert memory.value("depth", env="prod", queue="a") == 2

    def test_common_labels_leave_a_metric_its_own_of_the_same_name(self):
        memory = MemoryRecorder()
        layer = CommonLabels(memory, {"queue": "common", "env": "prod"})
        layer.gauge(DEPTH).labels("a").set(2)
        layer.gauge(UP).labels().set(1)
        assert [s.labels for s in memory.samples()] == [
            {"queue": "a", "env": "prod"},
            {"queue": "common", "env": "prod"},
        ]
        assert layer.value("depth", queue="a") == 2
        assert [s.labels for s in layer.samples()] == [{"queue": "a"}, {}]

    def test_common_labels_have_legal_names(self):
        with pytest.raises(ValueError, match="not a valid label name"):
            CommonLabels(MemoryRecorder(), {"my env": "prod"})


class TestTheCardinalityLimit:
    def test_the_cardinality_limit_turns_label_values_past_it_into_other(self):
        memory = MemoryRecorder()
        depth = CardinalityLimit(memory, 2).gauge(DEPTH)
        for queue in ("a", "b", "c", "d"):
            depth.labels(queue).inc()
        assert {s.labels["queue"]: s.value for s in memory.samples() if s.name == "depth"} == {
            "a": 1,
            "b": 1,
            "other": 2,
        }

    def test_the_cardinality_limit_keeps_known_label_sets_when_it_is_reached(self):
        memory = MemoryRecorder()
        depth = CardinalityLimit(memory, 1).gauge(DEPTH)
        depth.labels("a").inc()
        depth.labels("b").inc()
        depth.labels("a").inc()
        assert memory.value("depth", queue="a") == 2

    def test_the_cardinality_limit_keeps_labels_whose_values_are_a_fixed_set(self):
        memory = MemoryRecorder()
        jobs = CardinalityLimit(memory, 1).counter(JOBS)
        for queue, status in [("a", "ok"), ("b", "ok"), ("c", "failed"), ("d", "failed")]:
            jobs.labels(queue, status).inc()
        assert memory.value("jobs_total", status="failed") == 2
        assert memory.value("jobs_total", status="ok") == 2
        assert memory.value("jobs_total", queue="other") == 3

    def test_the_cardinality_limit_is_the_same_for_series_that_are_bound_at_once(self):
        memory = MemoryRecorder()
        limit = CardinalityLimit(memory, 1)
        jobs, depth = limit.counter(JOBS).metric, limit.gauge(DEPTH).metric
        for queue in ("a", "b", "c"):
            sets = [(queue, "ok"), (queue, "failed")]
            ok, failed, deep = limit.bind_each([(jobs, sets), (depth, [(queue,)])])
            ok.inc(1)
            failed.inc(10)
            deep.inc()
        assert memory.value("jobs_total", queue="a", status="ok") == 1
        assert memory.value("jobs_total", queue="other", status="ok") == 2
        assert memory.value("jobs_total", queue="other", status="failed") == 20
        assert memory.value("depth", queue="other") == 2
        for metric in ("jobs_total", "depth"):
            assert memory.value("agentmetrics_series_dropped_total", metric=metric) == 2

    def test_the_cardinality_limit_counts_an_empty_label_value(self):
        memory = MemoryRecorder()
        depth = CardinalityLimit(memory, 1).gauge(DEPTH)
        depth.labels("").inc()
        depth.labels("a").inc()
        assert memory.value("depth", queue="other") == 1

    def test_the_cardinality_limit_counts_what_it_turned_away(self):
        memory = MemoryRecorder()
        depth = CardinalityLimit(memory, 1).gauge(DEPTH)
        for queue in ("a", "b", "c"):
            depth.labels(queue).inc()
        assert memory.value("agentmetrics_series_dropped_total", metric="depth") == 2

    def test_whatever_is_around_a_cardinality_limit_tells_which_label_sets_it_keeps(self):
        memory = MemoryRecorder()
        limit = CardinalityLimit(memory, 1)
        for outer in (
            limit,
            Namespace(limit, "app"),
            CommonLabels(limit, {"env": "test"}),
            FanoutRecorder([limit]),
        ):
            metric = outer.gauge(replace(DEPTH, name=f"depth_{type(outer).__name__}")).metric
            assert outer.keeps(metric, ("a",))
            outer.gauge(metric).labels("a").inc()
            assert outer.keeps(metric, ("a",))
            assert not outer.keeps(metric, ("b",))
        assert memory.value("agentmetrics_series_dropped_total") == 4
        assert FanoutRecorder([limit, MemoryRecorder()]).keeps(DEPTH, ("b",))

    def test_the_cardinality_limit_holds_for_each_metric_by_itself(self):
        memory = MemoryRecorder()
        limit = CardinalityLimit(memory, 1)
        limit.gauge(DEPTH).labels("a").inc()
        limit.histogram(SECONDS).labels("b").observe(1)
        assert memory.histogram("seconds", queue="b").count == 1

    def test_the_cardinality_limit_never_touches_a_metric_without_labels(self):
        memory = MemoryRecorder()
        CardinalityLimit(memory, 1).gauge(UP).labels().set(1)
        assert memory.value("up") == 1
        assert memory.value("agentmetrics_series_dropped_total") == 0

    def test_the_cardinality_limit_holds_for_gauges_that_are_read(self):
        memory = MemoryRecorder()
        CardinalityLimit(memory, 2).observe_gauge(
            DEPTH, lambda: {("a",): 1.0, ("b",): 2.0, ("c",): 3.0}
        )
        assert memory.value("depth", queue="other") == 3

    def test_the_cardinality_limit_adds_up_what_of_a_read_gauge_is_past_it(self):
        memory = MemoryRecorder()
        CardinalityLimit(memory, 1).observe_gauge(
            DEPTH, lambda: {("a",): 1.0, ("b",): 2.0, ("c",): 3.0}
        )
        assert memory.value("depth", queue="other") == 5

    def test_the_cardinality_limit_keeps_the_greatest_of_the_ages_past_it(self):
        memory = MemoryRecorder()
        oldest = Metric("oldest_seconds", "gauge", "Age.", ("queue",), "seconds", merge="max")
        CardinalityLimit(memory, 1).observe_gauge(
            oldest, lambda: {("a",): 1.0, ("b",): 3.0, ("c",): 2.0}
        )
        assert memory.value("oldest_seconds", queue="other") == 3

    def test_the_cardinality_limit_is_put_around_a_recorder_once(self):
        memory = MemoryRecorder()
        assert isinstance(pipeline_of(memory).recorder, CardinalityLimit)
        assert pipeline_of(pipeline_of(memory).recorder) is pipeline_of(memory)
        limit = CardinalityLimit(MemoryRecorder())
        assert pipeline_of(limit).recorder is limit
        around = Namespace(CardinalityLimit(MemoryRecorder()), "shop")
        assert pipeline_of(around).recorder is around
        half = FanoutRecorder([CardinalityLimit(MemoryRecorder()), MemoryRecorder()])
        assert isinstance(pipeline_of(half).recorder, CardinalityLimit)


class TestALayer:
    def test_a_layer_that_binds_in_its_own_way_is_asked_for_each_series(self):
        class Loud(CardinalityLimit):
            def bind_counter(self, metric, values):
                return super().bind_counter(metric, tuple(map(str.upper, values)))

        memory = MemoryRecorder()
        loud = Loud(memory)
        (jobs,) = loud.bind_each([(loud.counter(JOBS).metric, [("a", "ok")])])
        jobs.inc()
        assert memory.value("jobs_total", queue="A", status="OK") == 1

    @pytest.mark.parametrize(
        "around",
        [
            lambda recorder: Namespace(recorder, "shop"),
            lambda recorder: CardinalityLimit(recorder, 10),
            lambda recorder: FanoutRecorder([recorder]),
            lambda recorder: FanoutRecorder([MemoryRecorder(), Namespace(recorder, "shop")]),
        ],
        ids=["namespace", "limit", "fanout", "namespace in a fanout"],
    )
    def test_a_layer_has_the_options_of_the_recorder_inside(self, around):
        memory = MemoryRecorder()
        options = Options(extra_labels=("tenant",), max_series=7, call_ttl_seconds=60.0)
        pipeline_of(memory, options)
        assert pipeline_of(around(memory)).options == options
