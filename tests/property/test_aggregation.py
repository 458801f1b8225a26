"""Any updates give the same totals in any order, from any thread, through any layers."""

from __future__ import annotations

import math
import threading
from collections import Counter as Tally

from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics import (
    CardinalityLimit,
    CommonLabels,
    FanoutRecorder,
    MemoryRecorder,
    Metric,
    Namespace,
    PrometheusRecorder,
    Recorder,
)

JOBS = Metric(
    "jobs_total", "counter", "Jobs.", ("queue", "status"), closed_labels=frozenset({"status"})
)
RUNNING = Metric("running", "gauge", "Running.", ("queue",), merge="sum")
SECONDS = Metric("seconds", "histogram", "Durations.", ("queue",), buckets=(0.0, 1.0, 8.0))

queues = st.sampled_from(["a", "b", "c", "d\n", "", "ü"])
# Multiples of 1/8: sums are exact, whatever their order.
amounts = st.integers(0, 1000).map(lambda n: n / 8)
signed = st.integers(-1000, 1000).map(lambda n: n / 8)
updates = st.one_of(
    st.tuples(st.just("inc"), queues, st.sampled_from(["ok", "failed"]), amounts),
    st.tuples(st.just("add"), queues, st.just(""), signed),
    st.tuples(st.just("observe"), queues, st.just(""), signed),
)


def apply(recorder: Recorder, update) -> None:
    kind, queue, status, amount = update
    if kind == "inc":
        recorder.counter(JOBS).labels(queue, status).inc(amount)
    elif kind == "observe":
        recorder.histogram(SECONDS).labels(queue).observe(amount)
    elif amount >= 0:
        recorder.gauge(RUNNING).labels(queue).inc(amount)
    else:
        recorder.gauge(RUNNING).labels(queue).dec(-amount)


def totals(samples) -> dict:
    """Values by name and labels, without those of 0, which may or may not have a series."""
    found: dict = {}
    for sample in samples:
        key = (sample.name, frozenset(sample.labels.items()))
        assert key not in found
        found[key] = sample.value
    return {key: value for key, value in found.items() if value}


def recorded(given_updates) -> dict:
    memory = MemoryRecorder()
    for update in given_updates:
        apply(memory, update)
    return totals(memory.samples())


@given(st.lists(updates, max_size=40).flatmap(lambda u: st.tuples(st.just(u), st.permutations(u))))
def test_the_order_of_updates_does_not_matter(both):
    given_updates, shuffled = both
    assert recorded(given_updates) == recorded(shuffled)


@given(st.lists(updates, max_size=40))
def test_totals_are_those_of_plain_arithmetic(given_updates):
    memory = MemoryRecorder()
    for update in given_updates:
        apply(memory, update)
    jobs: Tally[tuple[str, str]] = Tally()
    running: Tally[str] = Tally()
    observed: list[float] = []
    for kind, queue, status, amount in given_updates:
        clean = queue.replace("\n", "_")
        if kind == "inc":
            jobs[clean, status] += amount
        elif kind == "add":
            running[clean] += amount
        else:
            observed.append(amount)
    for (queue, status), amount in jobs.items():
        assert memory.value("jobs_total", queue=queue, status=status) == amount
    for queue, amount in running.items():
        assert memory.value("running", queue=queue) == amount
    if observed:
        found = memory.histogram("seconds")
        assert (found.count, found.sum) == (len(observed), sum(observed))
        for bound, count in found.buckets.items():
            assert count == sum(value <= bound for value in observed)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(updates, max_size=25), min_size=2, max_size=4))
def test_threads_together_give_what_one_alone_gives(per_thread):
    memory = MemoryRecorder()
    together = threading.Barrier(len(per_thread))

    def work(own):
        together.wait(10)
        for update in own:
            with memory.update():
                apply(memory, update)

    threads = [threading.Thread(target=work, args=(own,)) for own in per_thread]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert totals(memory.samples()) == recorded([u for own in per_thread for u in own])


@given(st.lists(updates, max_size=30))
def test_layers_and_backends_all_say_the_same(given_updates):
    memories = [MemoryRecorder() for _ in range(4)]
    prometheus = PrometheusRecorder(CollectorRegistry())
    fanout = FanoutRecorder(
        [
            memories[0],
            CardinalityLimit(memories[1]),
            Namespace(memories[2], "shop"),
            CommonLabels(memories[3], {"env": "prod"}),
            prometheus,
        ]
    )
    for update in given_updates:
        apply(fanout, update)
    expected = recorded(given_updates)
    assert totals(memories[0].samples()) == expected
    assert totals(memories[1].samples()) == expected
    assert totals(memories[2].samples()) == {
        (f"shop_{name}", labels): value for (name, labels), value in expected.items()
    }
    assert totals(memories[3].samples()) == {
        (name, labels | {("env", "prod")}): value for (name, labels), value in expected.items()
    }
    families = text_string_to_metric_families(prometheus.exposition().body.decode())
    samples = (s for family in families for s in family.samples)
    assert totals(s for s in samples if not s.name.endswith("_created")) == expected


@given(st.lists(updates, max_size=40), st.integers(1, 6))
def test_a_cardinality_limit_changes_labels_and_no_sums(given_updates, max_series):
    free, limited = MemoryRecorder(), MemoryRecorder()
    limit = CardinalityLimit(limited, max_series)
    for update in given_updates:
        apply(free, update)
        apply(limit, update)
    recorded_names = free.snapshot().keys()
    if "jobs_total" in recorded_names:
        for status in ("ok", "failed"):
            one, other = (r.value("jobs_total", status=status) for r in (limited, free))
            assert one == other
    if "running" in recorded_names:
        assert limited.value("running") == free.value("running")
    if "seconds" in recorded_names:
        assert limited.histogram("seconds") == free.histogram("seconds")
    for name, metric in limited.snapshot().items():
        queues = {s["labels"].get("queue") for s in metric["series"]} - {"other"}
        assert len(queues) <= max_series or name.startswith("agentmetrics_")


@given(st.lists(updates, max_size=20), st.lists(updates, max_size=20))
def test_after_a_reset_only_what_came_later_counts(before, after):
    memory = MemoryRecorder()
    for update in before:
        apply(memory, update)
    memory.reset()
    for update in after:
        apply(memory, update)
    in_flight = [update for update in before if update[0] == "add"]
    assert totals(memory.samples()) == recorded(in_flight + after)


@given(st.lists(st.floats(allow_nan=False), max_size=30))
def test_buckets_are_those_of_prometheus_client_for_any_float(values):
    import prometheus_client

    registry = CollectorRegistry()
    theirs = prometheus_client.Histogram(
        "seconds", "Durations.", ["queue"], buckets=SECONDS.buckets, registry=registry
    )
    memory = MemoryRecorder()
    for value in values:
        theirs.labels("a").observe(value)
        memory.histogram(SECONDS).labels("a").observe(value)
    for sample in memory.samples():
        their_value = registry.get_sample_value(sample.name, sample.labels)
        assert their_value is not None, sample
        assert sample.value == their_value or (math.isnan(sample.value) and math.isnan(their_value))
