"""The series store: quantiles, observed gauges, one lock, forks."""

from __future__ import annotations

import logging
import math
import os
import threading
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics import Metric
from agentmetrics.recording.store import Store, StoredCounter
from agentmetrics.recording.values import HistogramValue

JOBS = Metric("jobs_total", "counter", "Jobs.", ("queue",))
RUNNING = Metric("running", "gauge", "Running.", ("queue",), merge="sum")
OLDEST = Metric("oldest_seconds", "gauge", "Age.", ("queue",), "seconds", merge="max")
DEPTH = Metric("depth", "gauge", "Depth.")


class TestAHistogramValue:
    value = HistogramValue((1.0, 2.0, 4.0), (2, 4, 0, 2), 17.0)

    def test_a_histogram_value_counts_all_and_gives_cumulative_buckets(self):
        assert self.value.count == 8
        assert self.value.buckets == {1.0: 2, 2.0: 6, 4.0: 6, math.inf: 8}

    @pytest.mark.parametrize(
        ("q", "quantile"), [(0.0, 0.0), (0.125, 0.5), (0.25, 1.0), (0.5, 1.5), (0.75, 2.0)]
    )
    def test_a_histogram_value_interpolates_a_quantile_in_its_bucket(self, q, quantile):
        assert self.value.quantile(q) == quantile

    @pytest.mark.parametrize("q", [0.8, 1.0])
    def test_a_histogram_value_gives_the_highest_bound_for_a_quantile_beyond_it(self, q):
        assert self.value.quantile(q) == 4.0

    def test_a_histogram_value_has_no_quantile_when_nothing_was_observed(self):
        assert math.isnan(HistogramValue((1.0,), (0, 0), 0.0).quantile(0.5))

    def test_a_histogram_value_starts_a_first_bucket_below_zero_at_its_bound(self):
        assert HistogramValue((-1.0, 1.0), (4, 0, 0), -8.0).quantile(0.5) == -1.0

    @pytest.mark.parametrize("q", [-0.1, 1.1, math.nan])
    def test_a_histogram_value_refuses_a_share_that_is_none(self, q):
        with pytest.raises(ValueError, match="between 0 and 1"):
            self.value.quantile(q)

    @given(
        st.lists(st.integers(0, 50), min_size=4, max_size=4).filter(any),
        st.lists(st.floats(0, 1), min_size=2, max_size=2).map(sorted),
    )
    def test_quantiles_of_a_histogram_value_rise_with_their_share_and_stay_in_the_bounds(
        self, counts, shares
    ):
        value = HistogramValue((1.0, 2.0, 4.0), tuple(counts), 0.0)
        low, high = map(value.quantile, shares)
        assert 0 <= low <= high <= 4

    def test_a_histogram_value_adds_up_bucket_by_bucket(self):
        both = self.value + HistogramValue((1.0, 2.0, 4.0), (1, 0, 1, 0), 4.0)
        assert both == HistogramValue((1.0, 2.0, 4.0), (3, 4, 1, 2), 21.0)


class TestAStore:
    def test_a_store_leaves_out_families_without_series(self):
        store = Store()
        store.declare(JOBS)
        assert store.collect() == []
        store.bind(JOBS, ("a",)).inc()
        assert [(family.metric, family.series) for family in store.collect()] == [
            (JOBS, [(("a",), 1.0)])
        ]

    def test_a_store_reads_one_observed_gauge_without_asking_the_others(self):
        store, asked = Store(), []

        def failing() -> float:
            asked.append("width")
            raise KeyError

        store.observe(DEPTH, lambda: 5.0)
        store.observe(Metric("width", "gauge", "Width."), failing)
        assert store.read_observed("depth") == [((), 5.0)]
        assert not asked
        assert store.read_observed("width") is None
        assert store.read_observed("height") is None

    def test_a_store_takes_a_declaration_back(self):
        store = Store()
        store.declare(JOBS)
        store.forget(JOBS)
        gauge = Metric("jobs_total", "gauge", "Other.")
        store.declare(gauge)
        store.bind(gauge, ()).set(2)
        assert [(family.metric, family.series) for family in store.collect()] == [
            (gauge, [((), 2.0)])
        ]

    def test_a_store_lets_a_backend_keep_more_in_a_series(self):
        class Timed(StoredCounter):
            __slots__ = ()

        store = Store(counter=Timed)
        store.declare(JOBS)
        assert type(store.bind(JOBS, ("a",))) is Timed

    def test_a_store_logs_a_failing_callback_once_and_without_its_text(self, caplog):
        store = Store()

        def fails():
            raise RuntimeError("secret")

        store.observe(DEPTH, fails)
        with caplog.at_level(logging.WARNING, "agentmetrics"):
            store.collect()
            store.collect()
        assert [record.getMessage() for record in caplog.records] == [
            "the callback of depth failed: RuntimeError"
        ]

    def test_a_store_reads_callbacks_without_holding_its_lock(self):
        store = Store()
        free = []

        def callback():
            def try_lock():
                free.append(store.lock.acquire(timeout=5))
                store.lock.release()

            thread = threading.Thread(target=try_lock)
            thread.start()
            thread.join()
            return 1.0

        store.observe(DEPTH, callback)
        store.collect()
        assert free == [True]


def in_a_child(work) -> str:
    """What ``work()`` returned in a forked child."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
        pid = os.fork()
    if pid == 0:
        try:
            answer = repr(work())
        except BaseException as error:
            answer = f"raised {error!r}"
        os.write(write, answer.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        answer = pipe.read()
    os.waitpid(pid, 0)
    return answer


class TestWhatIsInFlight:
    @pytest.fixture
    def store(self):
        """One with a count, an age and a number of finished jobs."""
        store = Store()
        for metric in (JOBS, RUNNING, OLDEST):
            store.declare(metric)
        store.bind(RUNNING, ("a",)).inc()
        store.bind(OLDEST, ("a",)).set(60.0)
        store.bind(JOBS, ("a",)).inc(3)
        return store

    def values(self, store):
        return [store.bind(m, ("a",)).value for m in (RUNNING, OLDEST, JOBS)]

    def test_what_is_in_flight_is_left_to_the_parent_by_a_fork(self, store):
        assert in_a_child(lambda: self.values(store)) == "[0.0, 0.0, 3.0]"
        assert self.values(store) == [1.0, 60.0, 3.0]

    def test_what_is_in_flight_is_no_history_to_reset(self, store):
        store.reset()
        assert self.values(store) == [1.0, 60.0, 0.0]

    @pytest.mark.parametrize(("metric", "value"), [("RUNNING", 3.0), ("OLDEST", 2.0)])
    def test_what_is_in_flight_under_names_that_clean_to_one_is_joined(self, metric, value):
        store, metric = Store(), globals()[metric]
        store.observe(metric, lambda: {("a\n",): 2.0, ("a\r",): 1.0})
        assert store.collect()[0].series == [(("a_",), value)]


class TestAFork:
    def test_a_fork_never_leaves_a_child_with_a_locked_store(self):
        store = Store()
        store.declare(JOBS)
        series = store.bind(JOBS, ("a",))
        held, stop = threading.Event(), threading.Event()

        def hold():
            while not stop.is_set():
                with store.lock:
                    held.set()
                    series.inc()

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            assert held.wait(10)
            for _ in range(20):
                child = in_a_child(lambda: store.lock.acquire(timeout=5))
                assert child == "True"
        finally:
            stop.set()
            thread.join()
