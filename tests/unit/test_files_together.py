"""The files of all processes, read as what was recorded."""

from __future__ import annotations

import pytest
from prometheus_client.metrics_core import Metric as PrometheusFamily

from agentmetrics import Metric
from agentmetrics.backends.multiprocess import recorded
from agentmetrics.catalog import LLM_CALLS
from agentmetrics.recording.values import HistogramValue


class TestFilesOfAllProcesses:
    """What a scrape of them holds, as what was recorded."""

    SECONDS = Metric("job_seconds", "histogram", "Jobs.", ("b", "a"), "seconds", (1.0, 2.5))
    DEPTH = Metric("depth", "gauge", "Depth.", ("queue",))

    @pytest.fixture
    def scraped(self) -> list[PrometheusFamily]:
        """A scrape of what this version and another one wrote."""
        seconds = PrometheusFamily("job_seconds", "Jobs.", "histogram")
        for labels in ({"a": "x", "b": "y"}, {"a": "x"}):
            for bound, count in (("1.0", 2), ("2.5", 2), ("+Inf", 3)):
                seconds.add_sample("job_seconds_bucket", {**labels, "le": bound}, count)
            seconds.add_sample("job_seconds_sum", labels, 9.0)
        seconds.add_sample("job_seconds_bucket", {"a": "other", "b": "bounds", "le": "+Inf"}, 4)
        seconds.add_sample("job_seconds_sum", {"a": "other", "b": "bounds"}, 4.0)
        depth = PrometheusFamily("depth", "Depth.", "gauge")
        depth.add_sample("depth", {"queue": "a"}, 3.0)
        depth.add_sample("depth", {"queue": "a", "pid": "7"}, 5.0)
        return [seconds, depth, PrometheusFamily("of_the_program", "Its own.", "gauge")]

    def test_series_have_their_labels_in_order_and_their_buckets(
        self, scraped: list[PrometheusFamily]
    ) -> None:
        metrics = {metric.name: metric for metric in (self.SECONDS, self.DEPTH)}
        seconds, depth = recorded(scraped, metrics)
        assert seconds == (
            self.SECONDS,
            [(("y", "x"), HistogramValue((1.0, 2.5), (2, 0, 1), 9.0))],
        )
        assert depth == (self.DEPTH, [(("a",), 3.0)])

    def test_a_metric_that_nobody_has_written_is_left_out(
        self, scraped: list[PrometheusFamily]
    ) -> None:
        assert recorded(scraped, {LLM_CALLS.name: LLM_CALLS}) == []
