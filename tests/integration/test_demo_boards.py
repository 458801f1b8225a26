"""The operations kit on the demo's live traffic: boards, rules and runbooks have what to show."""

from __future__ import annotations

import math
import time
import urllib.parse
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import promql_parser
import pytest

from agentmetrics.catalog import PLATFORM
from agentmetrics.operations.boards import boards
from agentmetrics.operations.rules.files import ALERTS, Objectives
from agentmetrics.operations.rules.recording import recordings
from tests.integration.test_demo import announced, started
from tests.services import grafana
from tests.services.kit import prometheus_with_kit
from tests.services.prometheus import PrometheusServer
from tests.services.promql import metric_of, selectors

AGENT_BOARDS = {name: board for name, board in boards().items() if name != "platform"}
EXEMPT = {
    **{metric.name: "plugins measure it: see test_platform_example.py" for metric in PLATFORM},
    "agentmetrics_handler_errors_total": "nothing in the demo is misunderstood",
    "agentmetrics_series_dropped_total": "the demo has few series",
    "agentmetrics_packets_dropped_total": "the demo sends nothing to StatsD",
}
"""Metrics without a series in the demo, and why: a query that reads one may have no answer."""
IN_RUNBOOKS = {query for alert in ALERTS for query in alert.runbook.look_at.values()}
QUIET = {"up == 0": "the demo answers"}
"""Queries of runbooks that have no answer while all is well."""
SECONDS = 120.0
"""The most that it takes until all have an answer; half a minute where the machine is not busy."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrometheusServer]:
    """A Prometheus with the kit's rules that scrapes the demo every second."""
    directory = tmp_path_factory.mktemp("kit")
    log = directory / "demo.log"
    with started("demo", "--serve", "--port", "0", log=log) as process:
        target = urllib.parse.urlsplit(announced(log, process)).netloc
        with prometheus_with_kit(directory, target, job="demo", seconds=1) as server:
            yield server


def metrics_of(promql: str) -> set[str]:
    return {metric_of(selector.name) for selector in selectors(promql_parser.parse(promql))}


def is_exempt(promql: str) -> bool:
    if promql in QUIET:
        return True
    return not metrics_of(promql).isdisjoint(EXEMPT) and "or vector(0)" not in promql


def asked() -> set[str]:
    """What boards and runbooks ask."""
    on_boards = {t.expr for board in AGENT_BOARDS.values() for t in grafana.targets(board, {})}
    return on_boards | IN_RUNBOOKS


def has_answer(server: PrometheusServer, promql: str) -> bool:
    found: list[dict[str, Any]] = server.get("query", query=promql)["result"]
    return any(not math.isnan(float(series["value"][1])) for series in found)


def without_answer(server: PrometheusServer, queries: Iterable[str]) -> list[str]:
    """Those that have no answer, though they are not exempt and there was time."""
    silent = [query for query in queries if not is_exempt(query)]
    assert silent
    deadline = time.monotonic() + SECONDS
    with ThreadPoolExecutor(2) as pool:
        while silent and time.monotonic() < deadline:
            answered = pool.map(lambda query: has_answer(server, query), silent)
            silent = [query for query, found in zip(silent, answered, strict=True) if not found]
            time.sleep(0.5 if silent else 0)
    return silent


@pytest.mark.parametrize("board", AGENT_BOARDS)
def test_every_query_of_a_board_has_an_answer(server: PrometheusServer, board: str) -> None:
    queries = {target.expr for target in grafana.targets(AGENT_BOARDS[board], {})}
    assert without_answer(server, queries) == []


def test_every_recording_rule_records(server: PrometheusServer) -> None:
    rules = [rule for level in recordings(Objectives()).values() for rule in level]
    assert without_answer(server, (rule.name for rule in rules)) == []


def test_every_query_of_a_runbook_has_an_answer(server: PrometheusServer) -> None:
    assert without_answer(server, IN_RUNBOOKS) == []


def test_every_rule_is_evaluated_without_an_error(server: PrometheusServer) -> None:
    deadline, health = time.monotonic() + SECONDS, {"unknown"}
    while "unknown" in health and time.monotonic() < deadline:
        rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
        health = {rule["health"] for rule in rules}
    assert {rule["name"]: rule.get("lastError") for rule in rules if rule["health"] != "ok"} == {}
    assert {rule["name"] for rule in rules if rule["type"] == "alerting"} == {
        alert.name for alert in ALERTS
    }


def test_alerts_on_what_the_demo_does_on_purpose_fire(server: PrometheusServer) -> None:
    for name in ("BudgetSpent", "BudgetBlocksCalls", "CallsUnpriced", "CallsUnmetered"):
        firing = f'ALERTS{{alertname="{name}", alertstate="firing"}}'
        server.until(firing, SECONDS)
        assert server.get("query", query=firing)["result"], name


def test_what_is_exempt_has_no_answer(server: PrometheusServer) -> None:
    exempt = [query for query in asked() if is_exempt(query)]
    assert [query for query in exempt if has_answer(server, query)] == []


def test_no_exemption_is_left_over() -> None:
    exempt = [query for query in asked() if is_exempt(query)]
    needed = {name for query in exempt for name in (query, *metrics_of(query))}
    on_its_board_alone = {metric.name for metric in PLATFORM}
    assert needed >= {*EXEMPT, *QUIET} - on_its_board_alone
