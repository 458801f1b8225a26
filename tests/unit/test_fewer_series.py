"""Settings that keep the number of series down: extra labels on few metrics, and metrics off."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from agentmetrics import (
    CacheTracker,
    MemoryRecorder,
    PrometheusRecorder,
    UnknownMetricError,
    catalog,
    configure,
    labels,
    record_call,
    record_tool,
    track_call,
    track_run,
    track_tool,
)
from agentmetrics.backends.noop import NoopRecorder
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.recording.layers.fanout import FanoutRecorder
from agentmetrics.recording.layers.selection import Selection
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder

KEPT: list[CacheTracker] = []
"""A cache is read for as long as it lives."""

pytestmark = pytest.mark.usefixtures("agent_metrics")


def worked(**options: Any) -> MemoryRecorder:
    """A recorder with these options, after a run with two calls and a tool, for two tenants."""
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",), **options))
    work(recorder)
    return recorder


def work(recorder: Recorder) -> None:
    cache = CacheTracker("prompt", entries=lambda: 2, recorder=recorder)
    KEPT.append(cache)
    for tenant in ("acme", "globex"):
        with labels(tenant=tenant), track_run("reviewer", recorder=recorder):
            with track_call("openai", "gpt-4o", recorder=recorder) as call:
                call.record_usage(1000, 100)
            with pytest.raises(TimeoutError), track_call("openai", "gpt-4o", recorder=recorder):
                raise TimeoutError
            with track_tool("search", recorder=recorder):
                cache.hit()


def names(recorder: MemoryRecorder) -> set[str]:
    return {family.metric.name for family in recorder.collect()}


def with_tenant(recorder: MemoryRecorder) -> set[str]:
    """Metrics that have the label, a histogram by its own name."""
    found = {sample.name for sample in recorder.samples() if "tenant" in sample.labels}
    return {re.sub("_(bucket|sum|count)$", "", name) for name in found}


class TestExtraLabelsOnSomeMetrics:
    def test_each_extended_row_is_in_one_group(self):
        grouped = [metric for metrics in catalog.GROUPS.values() for metric in metrics]
        extended = [metric for metric in catalog.CATALOG if metric.extended]
        assert sorted(m.name for m in grouped) == sorted(m.name for m in extended)

    def test_by_default_all_extended_rows_have_them(self):
        recorder = worked()
        extended = {metric.name for metric in catalog.CATALOG if metric.extended}
        assert with_tenant(recorder) == names(recorder) & extended

    def test_groups_and_single_metrics_can_be_named(self):
        recorder = worked(extra_labels_for=("cost", "tool_executions_total"))
        cost = {"llm_cost_usd_total", "llm_call_cost_usd"}
        assert with_tenant(recorder) == {*cost, "tool_executions_total"}

    def test_what_has_no_label_adds_up_over_its_values(self):
        recorder, all_of_it = worked(extra_labels_for=("cost",)), worked()
        for name in names(all_of_it) - {"agentmetrics_build_info"}:
            metric = catalog_row(name)
            if metric.kind == "counter":
                assert recorder.value(name) == pytest.approx(all_of_it.value(name)), name
            elif metric.kind == "histogram" and metric.unit != "seconds":
                assert recorder.histogram(name).sum == all_of_it.histogram(name).sum, name
        assert recorder.value("cache_entries", cache_type="prompt") == 2
        assert recorder.value("llm_cost_usd_total", tenant="acme") > 0
        with pytest.raises(UnknownMetricError, match="llm_calls_total has no label 'tenant'"):
            recorder.value("llm_calls_total", tenant="acme")

    def test_what_is_in_progress_adds_up_too(self):
        recorder = MemoryRecorder()
        options = Options(extra_labels=("tenant",), extra_labels_for=("cost",))
        pipeline_of(recorder, options)
        run = partial(track_run, "reviewer", recorder=recorder)
        with labels(tenant="acme"), run(), labels(tenant="globex"), run():
            assert recorder.value("agent_active_runs", agent_name="reviewer") == 2
        assert recorder.value("agent_active_runs", agent_name="reviewer") == 0

    def test_a_label_may_be_called_as_one_of_a_metric_that_does_not_get_it(self):
        recorder = MemoryRecorder()
        named = ("tool_name", "error_type")
        pipeline_of(recorder, Options(extra_labels=named, extra_labels_for=("cost", "tokens")))
        with labels(tool_name="mine", error_type="odd"):
            record_call("openai", "gpt-4o", duration_seconds=1, input_tokens=9, output_tokens=1,
                        recorder=recorder)  # fmt: skip
            record_tool("search", duration_seconds=1, recorder=recorder)
        assert recorder.value("llm_tokens_total", tool_name="mine", error_type="odd") == 10
        assert recorder.value("tool_executions_total", tool_name="search") == 1

    def test_there_are_fewer_series(self):
        assert sum(1 for _ in worked(extra_labels_for=("cost",)).samples()) < 0.7 * sum(
            1 for _ in worked().samples()
        )


class TestMetricsOff:
    def test_nothing_is_left_of_them_and_all_else_is_as_before(self):
        off = ("llm_*_last_call", "agent_run_*", "llm_call_cost_usd", "cache_entries")
        recorder, before = worked(metrics_off=off), worked()
        gone = names(before) - names(recorder)
        assert gone == {
            *("llm_input_tokens_last_call", "llm_output_tokens_last_call", "llm_call_cost_usd"),
            *(name for name in names(before) if name.startswith("agent_run_")),
            "cache_entries",
        }
        for name in names(recorder):
            if catalog_row(name).kind == "counter":
                assert recorder.value(name) == pytest.approx(before.value(name)), name

    def test_they_are_in_no_exposition_not_even_by_name(self):
        recorder = PrometheusRecorder(CollectorRegistry())
        pipeline_of(recorder, Options(metrics_off=("llm_errors_total", "agent_*")))
        work(recorder)
        exposition = recorder.exposition().body.decode()
        assert "llm_errors_total" not in exposition
        assert "agent_runs" not in exposition
        assert "llm_calls_total{" in exposition

    def test_a_reading_says_so_rather_than_return_0(self):
        recorder = worked(metrics_off=("llm_cost_*", "llm_latency_seconds"))
        with pytest.raises(UnknownMetricError, match="llm_cost_usd_total is not recorded: AGENTM"):
            recorder.value("llm_cost_usd_total")
        with pytest.raises(UnknownMetricError, match="llm_latency_seconds is not recorded"):
            recorder.histogram("llm_latency_seconds")
        with pytest.raises(UnknownMetricError, match="there is no metric 'llm_cost_usd'"):
            recorder.value("llm_cost_usd")

    def test_metrics_about_agentmetrics_itself_stay_on(self):
        assert {"agentmetrics_open_runs", "agentmetrics_build_info"} <= names(
            worked(metrics_off=("*",))
        )

    def test_all_off_records_nothing_and_nothing_fails(self):
        recorder = worked(metrics_off=("*",))
        assert all(name.startswith("agentmetrics_") for name in names(recorder))
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_several_backends_leave_them_out_alike(self):
        one, other = MemoryRecorder(), MemoryRecorder()
        both = FanoutRecorder([one, NoopRecorder(), other])
        pipeline_of(both, Options(metrics_off=("llm_call_cost_usd", "llm_tokens_total")))
        work(both)
        assert names(one) == names(other)
        assert one.value("llm_cost_usd_total") == other.value("llm_cost_usd_total") > 0
        assert "llm_tokens_total" not in names(one)

    def test_runs_still_know_their_tokens_and_cost(self):
        recorder = worked(metrics_off=("llm_*",))
        assert recorder.histogram("agent_run_tokens").sum == 2200
        assert recorder.histogram("agent_run_cost_usd").sum > 0

    def test_settings_turn_them_off(self, monkeypatch):
        monkeypatch.setenv("AGENTMETRICS_METRICS_OFF", "llm_*_last_call, tool_executions_active")
        recorder = configure(backend="memory")
        assert isinstance(recorder, MemoryRecorder)
        work(recorder)
        assert "llm_calls_total" in names(recorder)
        assert not {n for n in names(recorder) if n.endswith(("_last_call", "_active"))}


def catalog_row(name: str) -> Metric:
    return next(metric for metric in catalog.CATALOG if metric.name == name)


AMOUNTS = st.integers(0, 2**40)


def rows(kind: Any, count: int) -> Iterator[Metric]:
    for place in range(count):
        yield Metric(f"{kind}_{place}", kind, "", buckets=(1.0,) if kind == "histogram" else ())


@given(
    st.lists(AMOUNTS, max_size=4),
    st.lists(AMOUNTS, max_size=4),
    st.lists(AMOUNTS, max_size=4),
    st.data(),
)
def test_a_batch_leaves_out_what_is_off_and_updates_the_rest(
    adds: list[int], sets: list[int], observed: list[int], data: st.DataObject
) -> None:
    metrics = [
        *rows("counter", len(adds)), *rows("gauge", len(sets)), *rows("histogram", len(observed))
    ]  # fmt: skip
    off = set(data.draw(st.lists(st.sampled_from([m.name for m in metrics] or ["none"]))))
    memory = MemoryRecorder()
    recorder = Selection(memory, off.__contains__, (), lambda metric: True)
    batch = recorder.batch(
        [recorder.counter(m).labels() for m in metrics if m.kind == "counter"],
        [recorder.gauge(m).labels() for m in metrics if m.kind == "gauge"],
        [recorder.histogram(m).labels() for m in metrics if m.kind == "histogram"],
    )
    with recorder.update():
        batch(*adds, *sets, *observed)
    expected = dict(zip((m.name for m in metrics), (*adds, *sets, *observed), strict=True))
    found = {
        family.metric.name: value if isinstance(value, float | int) else value.sum
        for family in memory.collect()
        for _, value in family.series
    }
    assert found == {name: value for name, value in expected.items() if name not in off}
