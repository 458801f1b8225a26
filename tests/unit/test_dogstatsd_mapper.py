"""The Agent's mapper makes of every line that plain StatsD sends the metric and its labels."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agentmetrics.backends.statsd_lines import path_of
from agentmetrics.config.assembly import make_options, make_recorder
from agentmetrics.config.loading import load_settings
from agentmetrics.operations.dogstatsd_mapper import mapper_profiles
from agentmetrics.operations.naming import METRICS
from agentmetrics.recording.metric import Metric
from tests.services.dogstatsd import Agent, agent_at, mapped

pytestmark = pytest.mark.usefixtures("no_settings")

VALUES = ("gpt-4.1", "", "meta/Llama 3", "a:b|c", "planner", "none", "x" * 40, "7", "ü")
"""As many as the longest metric has labels here; each another one."""


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with agent_at("udp", tmp_path) as agent:
        yield agent


@pytest.mark.parametrize("namespace", ["", "shop"])
@pytest.mark.parametrize("prefix", ["", "till.eu-1"])
@pytest.mark.parametrize("extra", [(), ("tenant", "team")])
@pytest.mark.parametrize("common", [{}, {"env": "prod", "service": "shop.web"}])
def test_every_line_of_every_row_is_mapped_to_its_metric_and_labels(
    agent: Agent, namespace: str, prefix: str, extra: tuple[str, ...], common: dict[str, str]
) -> None:
    settings = load_settings(
        backend="statsd",
        statsd_host="127.0.0.1",
        statsd_port=int(agent.url.rpartition(":")[2]),
        statsd_prefix=prefix,
        statsd_flush_interval=3600,
        statsd_dialect="datadog",
        namespace=namespace,
        extra_labels=extra,
        common_labels=common,
    )
    profiles = mapper_profiles(namespace, prefix, extra, tuple(common))
    recorder = make_recorder(settings)
    make = make_options(settings).instruments(recorder)
    for metric in METRICS.values():
        values = VALUES[: len(make.shaped(metric).labels)]
        if metric.kind == "counter":
            make.counter(metric).labels(*values).inc()
        elif metric.kind == "gauge":
            make.gauge(metric).labels(*values).set(1)
        else:
            make.histogram(metric).labels(*values).observe(1)
    recorder.close()
    agent.settle()
    found = {}
    for line in agent.lines():
        name = line.partition(":")[0]
        metric_name, tags = mapped(profiles["dogstatsd_mapper_profiles"], name) or (name, {})
        assert metric_name not in found, "two lines became one metric"
        found[metric_name] = tags
    expected = {}
    for metric in METRICS.values():
        labels = make.shaped(metric).labels
        tags = dict(zip(labels, map(_component, VALUES), strict=False))
        tags |= {label: _component(v) for label, v in common.items() if label not in metric.labels}
        expected[_named(metric, namespace, prefix)] = tags
    assert found == expected


def _component(value: str) -> str:
    """A label value as one component of a name."""
    return path_of("", "x", [value]).removeprefix("x.")


def _named(metric: Metric, namespace: str, prefix: str) -> str:
    name = f"{namespace}_{metric.name}" if namespace else metric.name
    return path_of(prefix, name, [])


def test_names_of_others_are_left_alone() -> None:
    profiles = mapper_profiles()["dogstatsd_mapper_profiles"]
    for name in ("other.llm_calls_total.a.b.c.d", "llm_calls_total.a", "llm_calls_total.a.b.c.d.e"):
        assert mapped(profiles, name) is None
