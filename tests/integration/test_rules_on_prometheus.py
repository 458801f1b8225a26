"""Rules and runbooks asked of a real Prometheus, which scrapes two processes with every metric."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import product
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import PrometheusRecorder
from agentmetrics.catalog import LABEL_VALUES
from agentmetrics.exposition import start_http_server_in_thread
from agentmetrics.operations.naming import METRICS, in_namespace
from agentmetrics.operations.rules.alert import Alert
from agentmetrics.operations.rules.files import ALERTS, Objectives, rule_files
from agentmetrics.operations.rules.objectives import Objective
from agentmetrics.operations.rules.recording import recordings
from agentmetrics.recording.layers.namespace import Namespace
from agentmetrics.recording.metric import Metric
from agentmetrics.recording.recorder import Recorder
from tests.services.prometheus import PrometheusServer, running_prometheus

NAMESPACE = "shop"
OBJECTIVES = Objectives(agents={"some": Objective(0.999)})
LABELS = {**LABEL_VALUES, "intent": ("some", "prompt_cache")}
RECORDED = {rule.name for rules in recordings(OBJECTIVES).values() for rule in rules}
QUIET = {"up == 0"}
"""Queries that have no answer while all is well."""


def record(recorder: Recorder, metric: Metric) -> None:
    """A value of every series that the closed labels of a metric make."""
    for values in product(*(LABELS.get(label, ("some",)) for label in metric.labels)):
        if metric.kind == "counter":
            recorder.counter(metric).labels(*values).inc()
        elif metric.kind == "gauge":
            recorder.gauge(metric).labels(*values).set(1.0)
        else:
            recorder.histogram(metric).labels(*values).observe(1.0)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """After every rule was evaluated on what two processes expose."""
    directory = tmp_path_factory.mktemp("rules")
    rules = []
    for path, text in rule_files(OBJECTIVES, NAMESPACE).items():
        if path.startswith("prometheus/rules/"):
            rules.append(directory / path.rpartition("/")[2])
            rules[-1].write_text(text, encoding="utf-8")
    with ExitStack() as served:
        recorders = [
            Namespace(PrometheusRecorder(CollectorRegistry()), NAMESPACE) for _ in range(2)
        ]
        ports = [served.enter_context(start_http_server_in_thread(it)).port for it in recorders]
        targets = [f"127.0.0.1:{port}" for port in ports]
        server = served.enter_context(running_prometheus(directory, targets, rules))
        for _ in range(2):  # so that counters move between two scrapes
            for recorder, metric in product(recorders, METRICS.values()):
                record(recorder, metric)
            server.scraped()
        wait_for_recorded(server)
        server.scraped()
        yield server


@pytest.fixture(scope="module")
def ask(server: PrometheusServer) -> Callable[[str], list[Any]]:
    """What a query answers as of one moment: on a busy machine, a later scrape can time out."""
    moment = server.value("vector(time())")

    def answer(promql: str) -> list[Any]:
        query = in_namespace(promql, NAMESPACE)
        found: list[Any] = server.get("query", query=query, time=str(moment))["result"]
        return found

    return answer


def wait_for_recorded(server: PrometheusServer, seconds: float = 30.0) -> None:
    """Until each recording rule had something to read; some read others, of the round before."""
    named = f'count by (__name__) ({{__name__=~"{NAMESPACE}_job_agent_name:.+"}})'
    missing, deadline = RECORDED, time.monotonic() + seconds
    while missing:
        assert time.monotonic() < deadline, f"not recorded in {seconds} s: {missing}"
        time.sleep(0.1)
        found = server.get("query", query=named)["result"]
        names = {series["metric"]["__name__"].removeprefix(f"{NAMESPACE}_") for series in found}
        missing = RECORDED - names


def test_no_rule_fails_over_several_processes(server: PrometheusServer) -> None:
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in rules if rule["type"] == "alerting"} == {
        alert.name for alert in ALERTS
    }
    failed = {rule["name"]: rule["lastError"] for rule in rules if rule["health"] == "err"}
    assert failed == {}


def test_every_recording_rule_has_one_series_for_an_agent(
    ask: Callable[[str], list[Any]],
) -> None:
    for name in RECORDED:
        assert [series["metric"]["agent_name"] for series in ask(name)] == ["some"], name


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_the_queries_of_a_runbook_have_answers(
    ask: Callable[[str], list[Any]], alert: Alert
) -> None:
    for query in alert.runbook.look_at.values():
        if query not in QUIET:
            assert ask(query), query
