"""The suite that every backend and layer passes, as a pytest class to subclass.

class TestMyRecorder(RecorderConformance):
    def make(self):
        return MyRecorder()

    def samples(self, recorder):
        return recorder.what_was_delivered()

One class in one module, however long, since it is what a plugin's tests import.
"""

from __future__ import annotations

import math
import threading
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import pytest

from agentmetrics.recording.instruments import CounterSeries, Observed
from agentmetrics.recording.metric import MAX_LABEL_LENGTH, Metric
from agentmetrics.recording.recorder import Recorder
from agentmetrics.recording.values import Sample

CALLS = Metric(
    "conformance_calls_total",
    "counter",
    "Calls.",
    ("agent", "status"),
    closed_labels=frozenset({"status"}),
)
ERRORS = Metric("conformance_errors_total", "counter", "Errors.", ("agent",))
TEMPERATURE = Metric("conformance_temperature", "gauge", "Degrees.", ("room",))
IN_FLIGHT = Metric("conformance_in_flight", "gauge", "Going on.", ("agent",), merge="sum")
DEPTH = Metric("conformance_depth", "gauge", "Read at collection.")
DEPTHS = Metric("conformance_depths", "gauge", "Read at collection.", ("queue",))
SECONDS = Metric(
    "conformance_seconds", "histogram", "Durations.", ("agent",), "seconds", (0.1, 1.0, 10.0)
)

HOSTILE_LABEL_VALUES: dict[str, object] = {
    "newline": "planner\nllm_calls_total 999",
    "carriage return": "a\r\nb",
    "tab and NUL": "a\tb\0c",
    "C1 control": "a\x85b\x9b",
    "line separator": "a\u2028b\u2029c",
    "colon": "model:latest",
    "pipe": "a|c|@0.1|#tag:1",
    "braces and quotes": '{agent="x"} \\',
    "10 kB": "x" * 10_240,
    "10 kB of newlines": "\n" * 10_240,
    "lone surrogate": "a\ud800b",
    "empty": "",
    "None": None,
    "integer": 7,
    "integer of 10 000 digits": 10**10_000,
    "float": 0.5,
    "bool": True,
    "object": object(),
    "bytes": b"\xff\xfe",
    "list": ["a", "b"],
}

SECONDS_TO_WAIT_FOR_A_THREAD = 30.0
SECONDS_TO_SEE_HALF_AN_UPDATE = 0.1


_NEEDS = "__needs__"
T = TypeVar("T", bound=Callable[..., None])


def _needs(capability: str) -> Callable[[T], T]:
    """The test is only for backends whose class attribute of this name is true."""

    def mark(test: T) -> T:
        setattr(test, _NEEDS, capability)
        return test

    return mark


class RecorderConformance(ABC):
    """What a recorder promises. Subclass it in a test module, under a name with ``Test``.

    The class attributes say what a backend can show; set one to ``False`` where the wire it
    speaks has no such thing, and its tests are left out. Of a backend that says ``resets = False``
    it is asked that ``reset`` does nothing.
    """

    buckets: bool = True
    """Whether histograms are delivered as cumulative ``_bucket`` samples with ``le``."""
    consistent_updates: bool = True
    """Whether ``update()`` makes several updates one step for whoever collects."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in [name for name in dir(cls) if name.startswith("test")]:
            needed = getattr(getattr(cls, name), _NEEDS, None)
            if needed and not getattr(cls, needed):
                setattr(cls, name, None)  # pytest collects what can be called

    @abstractmethod
    def make(self) -> Recorder:
        """A recorder that has recorded nothing."""

    def samples(self, recorder: Recorder) -> Iterable[Sample]:
        """What was delivered, in Prometheus' terms; called after ``recorder.flush()``.

        Names and labels are those that were recorded: a layer that changes them changes them
        back here. Without an own one it is what the recorder itself reads; a backend that delivers
        somewhere shows what arrived there.
        """
        return recorder.samples()

    @pytest.fixture
    def recorder(self) -> Iterator[Recorder]:
        recorder = self.make()
        yield recorder
        recorder.close()

    # Counters

    def test_increments_of_a_counter_add_up(self, recorder: Recorder) -> None:
        calls = recorder.counter(CALLS).labels("planner", "success")
        calls.inc()
        calls.inc(2)
        calls.inc(0.5)
        assert self.value(recorder, CALLS, agent="planner", status="success") == 3.5

    @pytest.mark.parametrize("amount", [-1, -1e-9, math.nan, -math.inf])
    def test_a_counter_refuses_to_fall(self, recorder: Recorder, amount: float) -> None:
        errors = recorder.counter(ERRORS).labels("planner")
        errors.inc(2)
        with pytest.raises(ValueError):
            errors.inc(amount)
        assert self.value(recorder, ERRORS) == 2

    def test_series_with_other_label_values_are_apart(self, recorder: Recorder) -> None:
        calls = recorder.counter(CALLS)
        calls.labels("planner", "success").inc(1)
        calls.labels("planner", "error").inc(2)
        calls.labels("writer", "success").inc(4)
        assert self.value(recorder, CALLS, agent="planner", status="success") == 1
        assert self.value(recorder, CALLS, agent="planner") == 3
        assert self.value(recorder, CALLS, status="success") == 5

    # Gauges

    def test_a_gauge_is_what_it_was_set_to(self, recorder: Recorder) -> None:
        kitchen = recorder.gauge(TEMPERATURE).labels("kitchen")
        kitchen.set(21.5)
        kitchen.set(-3)
        assert self.value(recorder, TEMPERATURE, room="kitchen") == -3

    def test_a_gauge_rises_and_falls(self, recorder: Recorder) -> None:
        in_flight = recorder.gauge(IN_FLIGHT).labels("planner")
        in_flight.inc()
        in_flight.inc(2)
        in_flight.dec()
        in_flight.dec(0.5)
        assert self.value(recorder, IN_FLIGHT) == 1.5

    # Histograms

    def test_a_histogram_has_a_count_and_a_sum(self, recorder: Recorder) -> None:
        seconds = recorder.histogram(SECONDS).labels("planner")
        for observed in (0.05, 0.5, 0.5, 100):
            seconds.observe(observed)
        found = self.found(recorder)
        assert _total(found, "conformance_seconds_count") == 4
        assert _total(found, "conformance_seconds_sum") == pytest.approx(101.05)

    @_needs("buckets")
    def test_buckets_are_cumulative_and_include_their_bound(self, recorder: Recorder) -> None:
        seconds = recorder.histogram(SECONDS).labels("planner")
        for observed in (-1, 0.1, 0.5, 1.0, 5, 10.0, 100, math.inf):
            seconds.observe(observed)
        found = [s for s in self.found(recorder) if s.name == "conformance_seconds_bucket"]
        assert {float(s.labels["le"]): s.value for s in found} == {
            0.1: 2,
            1.0: 4,
            10.0: 6,
            math.inf: 8,
        }
        assert {s.labels["agent"] for s in found} == {"planner"}

    def test_a_histogram_refuses_nan(self, recorder: Recorder) -> None:
        seconds = recorder.histogram(SECONDS).labels("planner")
        seconds.observe(1)
        with pytest.raises(ValueError):
            seconds.observe(math.nan)
        assert _total(self.found(recorder), "conformance_seconds_count") == 1
        assert _total(self.found(recorder), "conformance_seconds_sum") == 1

    # Instruments

    def test_a_metric_asked_for_twice_is_one(self, recorder: Recorder) -> None:
        assert recorder.counter(CALLS) is recorder.counter(CALLS)
        recorder.counter(CALLS).labels("planner", "success").inc()
        recorder.counter(CALLS).labels("planner", "success").inc()
        assert self.value(recorder, CALLS, agent="planner", status="success") == 2

    def test_series_that_are_bound_at_once_are_those_that_are_bound_alone(
        self, recorder: Recorder
    ) -> None:
        calls, seconds = recorder.counter(CALLS), recorder.histogram(SECONDS)
        gauge = recorder.gauge(TEMPERATURE)
        calls.labels("planner", "success").inc()
        success, error, kitchen, took = recorder.bind_each(
            [
                (calls.metric, [("planner", "success"), ("planner", "error")]),
                (gauge.metric, [("kitchen",)]),
                (seconds.metric, [("planner",)]),
            ]
        )
        success.inc(2)
        error.inc(4)
        kitchen.set(7)
        took.observe(3)
        gauge.labels("kitchen").inc()
        assert self.value(recorder, CALLS, agent="planner", status="success") == 3
        assert self.value(recorder, CALLS, agent="planner", status="error") == 4
        assert self.value(recorder, TEMPERATURE, room="kitchen") == 8
        assert _total(self.found(recorder), "conformance_seconds_sum") == 3

    def test_a_name_used_for_another_kind_is_refused(self, recorder: Recorder) -> None:
        recorder.counter(CALLS)
        other = Metric(CALLS.name, "gauge", "Calls.", CALLS.labels)
        with pytest.raises(ValueError) as raised:
            recorder.gauge(other)
        self.names_both(raised.value, CALLS.name, "counter", "gauge")

    def test_a_name_used_with_other_labels_is_refused(self, recorder: Recorder) -> None:
        recorder.counter(CALLS)
        other = Metric(CALLS.name, "counter", "Calls.", ("agent", "model"))
        with pytest.raises(ValueError) as raised:
            recorder.counter(other)
        self.names_both(raised.value, CALLS.name, "status", "model")

    def test_a_name_used_with_other_buckets_is_refused(self, recorder: Recorder) -> None:
        recorder.histogram(SECONDS)
        other = Metric(SECONDS.name, "histogram", "Durations.", SECONDS.labels, "seconds", (7.5,))
        with pytest.raises(ValueError) as raised:
            recorder.histogram(other)
        self.names_both(raised.value, SECONDS.name, "10.0", "7.5")

    def test_a_counter_cannot_be_asked_for_as_a_gauge(self, recorder: Recorder) -> None:
        with pytest.raises(ValueError) as raised:
            recorder.gauge(CALLS)
        self.names_both(raised.value, CALLS.name, "counter", "gauge")

    @pytest.mark.parametrize("values", [(), ("planner",), ("planner", "success", "more")])
    def test_a_wrong_number_of_label_values_is_refused(
        self, recorder: Recorder, values: tuple[str, ...]
    ) -> None:
        with pytest.raises(ValueError, match=str(len(values))):
            recorder.counter(CALLS).labels(*values)

    # Label values

    @pytest.mark.parametrize(
        "value", HOSTILE_LABEL_VALUES.values(), ids=HOSTILE_LABEL_VALUES.keys()
    )
    def test_a_hostile_label_value_is_cleaned_and_recorded(
        self, recorder: Recorder, value: object
    ) -> None:
        recorder.counter(ERRORS).labels(value).inc(3)
        recorder.gauge(TEMPERATURE).labels(value).set(3)
        recorder.histogram(SECONDS).labels(value).observe(3)
        found = self.found(recorder)
        for name in (ERRORS.name, TEMPERATURE.name, "conformance_seconds_sum"):
            assert _total(found, name) == 3
        for sample in found:
            for text in sample.labels.values():
                _check_clean(text)

    # Gauges that are read

    def test_an_observed_gauge_is_read_at_every_collection(self, recorder: Recorder) -> None:
        depth = [5.0]
        recorder.observe_gauge(DEPTH, lambda: depth[0])
        assert self.value(recorder, DEPTH) == 5
        depth[0] = 7.0
        assert self.value(recorder, DEPTH) == 7

    def test_an_observed_gauge_may_have_labels(self, recorder: Recorder) -> None:
        recorder.observe_gauge(DEPTHS, lambda: {("a",): 1.0, ("b\n",): 2.0})
        assert self.value(recorder, DEPTHS, queue="a") == 1
        assert self.value(recorder, DEPTHS) == 3
        for sample in self.found(recorder):
            for text in sample.labels.values():
                _check_clean(text)

    def test_the_newest_callback_of_an_observed_gauge_counts(self, recorder: Recorder) -> None:
        recorder.observe_gauge(DEPTH, lambda: 1.0)
        recorder.observe_gauge(DEPTH, lambda: 2.0)
        assert self.value(recorder, DEPTH) == 2

    @pytest.mark.parametrize(
        "callback",
        [lambda: 1 / 0, lambda: "many", lambda: None, lambda: {("a", "b"): 1.0}],
        ids=["raises", "text", "None", "a label too many"],
    )
    def test_a_callback_that_fails_harms_nothing(
        self, recorder: Recorder, callback: Callable[[], Any]
    ) -> None:
        observed: Callable[[], Observed] = callback
        recorder.observe_gauge(DEPTH, observed)
        recorder.observe_gauge(DEPTHS, lambda: {("a",): 1.0})
        recorder.counter(ERRORS).labels("planner").inc()
        assert self.value(recorder, ERRORS) == 1
        assert self.value(recorder, DEPTHS) == 1
        assert self.value(recorder, ERRORS) == 1

    # Several updates as one step

    def test_updates_nest(self, recorder: Recorder) -> None:
        errors = recorder.counter(ERRORS).labels("planner")
        with recorder.update():
            errors.inc()
            with recorder.update():
                errors.inc()
            errors.inc()
        assert self.value(recorder, ERRORS) == 3

    def test_an_update_asked_for_once_can_be_entered_again(self, recorder: Recorder) -> None:
        errors = recorder.counter(ERRORS).labels("planner")
        step = recorder.update()
        for _ in range(2):
            with step, step:
                errors.inc()
        _run_in_thread(lambda: self._inc_inside(step, errors))
        assert self.value(recorder, ERRORS) == 3

    def _inc_inside(self, step: AbstractContextManager[Any], series: CounterSeries) -> None:
        with step:
            series.inc()

    def test_a_batch_is_the_same_as_its_updates(self, recorder: Recorder) -> None:
        apply = recorder.batch(
            (
                recorder.counter(ERRORS).labels("planner"),
                recorder.counter(CALLS).labels("planner", "error"),
                recorder.gauge(IN_FLIGHT).labels("planner"),
            ),
            (recorder.gauge(TEMPERATURE).labels("kitchen"),),
            (recorder.histogram(SECONDS).labels("planner"),),
        )
        for number in range(3):
            with recorder.update():
                apply(1, 2, -1, number, 0.5)
        found = self.found(recorder)
        assert _total(found, ERRORS.name) == 3
        assert _total(found, CALLS.name) == 6
        assert _total(found, IN_FLIGHT.name) == -3
        assert _total(found, TEMPERATURE.name) == 2
        assert _total(found, "conformance_seconds_count") == 3
        assert _total(found, "conformance_seconds_sum") == 1.5

    def test_a_batch_may_be_empty(self, recorder: Recorder) -> None:
        with recorder.update():
            recorder.batch((), (), ())()

    def test_an_error_inside_an_update_goes_on_and_frees_the_recorder(
        self, recorder: Recorder
    ) -> None:
        errors = recorder.counter(ERRORS).labels("planner")
        with pytest.raises(KeyError), recorder.update():
            raise KeyError
        _run_in_thread(errors.inc)
        assert self.value(recorder, ERRORS) == 1

    @_needs("consistent_updates")
    def test_nobody_sees_half_of_an_update(self, recorder: Recorder) -> None:
        calls = recorder.counter(CALLS).labels("planner", "error")
        errors = recorder.counter(ERRORS).labels("planner")
        seen: list[tuple[float, float]] = []
        read = threading.Event()

        def reader() -> None:
            found = self.found(recorder)
            seen.append((_total(found, CALLS.name), _total(found, ERRORS.name)))
            read.set()

        thread = threading.Thread(target=reader)
        with recorder.update():
            calls.inc()
            with recorder.update():
                calls.inc()
            thread.start()
            read.wait(SECONDS_TO_SEE_HALF_AN_UPDATE)  # a reader that does not wait is done by now
            errors.inc(2)
        thread.join(SECONDS_TO_WAIT_FOR_A_THREAD)
        assert seen in ([(2, 2)], [(0, 0)])

    def test_threads_lose_no_update(self, recorder: Recorder) -> None:
        threads, times = 8, 250
        calls, in_flight = recorder.counter(CALLS), recorder.gauge(IN_FLIGHT)
        seconds = recorder.histogram(SECONDS)
        together = threading.Barrier(threads)

        def work() -> None:
            together.wait(SECONDS_TO_WAIT_FOR_A_THREAD)
            for number in range(times):
                in_flight.labels("planner").inc()
                with recorder.update():
                    calls.labels("planner", f"s{number % 5}").inc()
                    seconds.labels("planner").observe(0.5)
                in_flight.labels("planner").dec()

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(SECONDS_TO_WAIT_FOR_A_THREAD)
        found = self.found(recorder)
        assert _total(found, CALLS.name) == threads * times
        assert _total(found, "conformance_seconds_count") == threads * times
        assert _total(found, IN_FLIGHT.name) == 0

    # Reset, flush, close

    def test_reset_starts_again_from_zero(self, recorder: Recorder) -> None:
        errors = recorder.counter(ERRORS).labels("planner")
        kitchen = recorder.gauge(TEMPERATURE).labels("kitchen")
        seconds = recorder.histogram(SECONDS).labels("planner")
        errors.inc(5)
        kitchen.set(21)
        seconds.observe(3)
        recorder.reset()
        kept = 0 if recorder.resets else 1
        found = self.found(recorder)
        assert _total(found, ERRORS.name) == kept * 5
        assert _total(found, TEMPERATURE.name) == kept * 21
        assert _total(found, "conformance_seconds_count") == kept
        errors.inc(2)
        seconds.observe(4)
        found = self.found(recorder)
        assert _total(found, ERRORS.name) == kept * 5 + 2
        assert _total(found, "conformance_seconds_sum") == kept * 3 + 4

    def test_reset_keeps_what_is_in_flight(self, recorder: Recorder) -> None:
        in_flight = recorder.gauge(IN_FLIGHT).labels("planner")
        in_flight.inc()
        recorder.reset()
        assert self.value(recorder, IN_FLIGHT) == 1
        in_flight.dec()
        assert self.value(recorder, IN_FLIGHT) == 0

    def test_flush_and_close_may_come_twice(self, recorder: Recorder) -> None:
        recorder.counter(ERRORS).labels("planner").inc()
        recorder.flush()
        recorder.flush()
        recorder.close()
        recorder.close()
        recorder.flush()

    def test_updates_after_close_are_silent(self, recorder: Recorder) -> None:
        errors = recorder.counter(ERRORS).labels("planner")
        recorder.close()
        errors.inc()
        with recorder.update():
            recorder.counter(ERRORS).labels("writer").inc()
            recorder.gauge(TEMPERATURE).labels("kitchen").set(1)
            recorder.histogram(SECONDS).labels("planner").observe(1)
        recorder.observe_gauge(DEPTH, lambda: 1.0)
        recorder.reset()
        recorder.flush()

    # What the tests above are written in

    def found(self, recorder: Recorder) -> list[Sample]:
        recorder.flush()
        return [s for s in self.samples(recorder) if s.name.startswith("conformance_")]

    def value(self, recorder: Recorder, metric: Metric, **labels: str) -> float:
        found = self.found(recorder)
        assert any(s.name == metric.name for s in found), f"{metric.name} was not delivered"
        return _total(found, metric.name, **labels)

    def names_both(self, error: ValueError, *parts: str) -> None:
        for part in parts:
            assert part in str(error)


def _total(samples: Iterable[Sample], name: str, **labels: str) -> float:
    return sum(s.value for s in samples if s.name == name and labels.items() <= s.labels.items())


def _check_clean(text: str) -> None:
    assert len(text) <= MAX_LABEL_LENGTH
    unsafe = {"Cc", "Cs", "Zl", "Zp"}  # control characters, surrogates, line separators
    assert not any(unicodedata.category(character) in unsafe for character in text)


def _run_in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(SECONDS_TO_WAIT_FOR_A_THREAD)
    assert not thread.is_alive(), "the recorder is still locked"
