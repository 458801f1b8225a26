"""Every query of every board, on a real Prometheus that scraped programs in which all happened.

One program is as it comes, one has a namespace, and one has an extra label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from agentmetrics import Namespace, PrometheusRecorder
from agentmetrics.exposition import start_http_server_in_thread
from agentmetrics.operations.boards import BOARDS, boards
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.recording.recorder import Recorder
from tests.integration.apps import everything
from tests.integration.apps.everything import AGENTS, MODELS, PROVIDERS, TENANT
from tests.services import grafana
from tests.services.board_types import type_findings
from tests.services.panels import draw
from tests.services.prometheus import SCRAPE_INTERVAL_SECONDS, PrometheusServer

NAMESPACE = "acme"
EXPORTS = {"plain": ("", ()), "namespace": (NAMESPACE, ()), "tenant": ("", ("tenant",))}
"""The namespace and extra labels of each program, and so of its boards."""
HOW_MANY = {"All": 0, "one": 1, "two": 2}
PRICED = {"Calls without a known price"}
"""Panels that may be empty where all that is chosen is one model that has a price."""


@dataclass
class Live:
    """A Prometheus that scraped the programs, which target is which program, and when it had."""

    prometheus: PrometheusServer
    instances: dict[str, str]
    at: float
    unrecorded: dict[str, set[str]]
    """What each program brought no series of, so that it was recorded directly."""

    def answers(self, query: grafana.Target) -> bool:
        """Whether there is a number."""
        if query.instant:
            found = self.prometheus.get("query", query=query.expr, time=f"{self.at:.3f}")["result"]
            return any(_is_number(series["value"]) for series in found)
        over = {"start": f"{self.at - 2:.3f}", "end": f"{self.at:.3f}", "step": "1"}
        found = self.prometheus.get("query_range", query=query.expr, **over)["result"]
        return any(_is_number(value) for series in found for value in series["values"])


def _is_number(value: list[Any]) -> bool:
    return not math.isnan(float(value[1]))


@pytest.fixture(scope="module")
def live(
    prometheus: Callable[..., PrometheusServer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Live]:
    """After six rounds of traffic, each of which was scraped.

    They take three seconds and more, in which a drawn line has points that are rates of something.
    """
    with ExitStack() as stack:
        programs, instances = [], {}
        for name, (namespace, extra_labels) in EXPORTS.items():
            exposed = PrometheusRecorder(CollectorRegistry())
            recorder: Recorder = Namespace(exposed, namespace) if namespace else exposed
            pipeline_of(recorder, Options(extra_labels=extra_labels, call_tokens=True))
            metrics = stack.enter_context(start_http_server_in_thread(exposed))
            instances[name] = f"127.0.0.1:{metrics.port}"
            directory = tmp_path_factory.mktemp(name)
            program = stack.enter_context(everything.working(recorder, directory))
            program.work()
            programs.append((program, recorder, everything.unrecorded(recorder)))
        server = prometheus(*instances.values())
        server.scraped()
        for _ in range(6):
            for program, recorder, unrecorded in programs:
                everything.record_directly(recorder, unrecorded)
                program.work()
            at = server.scraped()
        names = [{row.name for row in unrecorded} for _, _, unrecorded in programs]
        yield Live(server, instances, at, dict(zip(EXPORTS, names, strict=True)))


@pytest.mark.parametrize("export", EXPORTS)
def test_all_is_recorded_by_what_happens_but_for_what_has_a_reason(live: Live, export: str) -> None:
    assert live.unrecorded[export] == set(everything.NOT_DONE)


def chosen(live: Live, name: str, many: int) -> dict[str, list[str]]:
    """So many values of each variable; the second instance and job are ones that are not there."""
    if not many:
        return {}
    values = {
        "job": ["agents", "others"],
        "instance": [live.instances[name], "10.0.0.1:80"],
        "agent_name": AGENTS,
        "provider": PROVIDERS,
        "model": MODELS,
        "tenant": [TENANT, "south"],
        "group_by": ["tenant" if name == "tenant" else "model"],
    }
    return {variable: list(options[:many]) for variable, options in values.items()}


@pytest.mark.parametrize("many", HOW_MANY)
@pytest.mark.parametrize("export", EXPORTS)
@pytest.mark.parametrize("board", BOARDS)
def test_every_query_returns_data(live: Live, board: str, export: str, many: str) -> None:
    made = boards(*EXPORTS[export])[board]
    queries = grafana.targets(made, chosen(live, export, HOW_MANY[many]))
    assert queries
    with ThreadPoolExecutor(4) as pool:
        answered = list(pool.map(live.answers, queries))
    silent = [query for query, found in zip(queries, answered, strict=True) if not found]
    may_be = PRICED if many == "one" else set()
    assert [str(query) for query in silent if query.panel not in may_be] == []


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_is_drawn_and_has_data(live: Live, board: str) -> None:
    picture = draw(
        boards()[board],
        prometheus=live.prometheus.url,
        now=live.at,
        start="now-1m",
        variables={"instance": [live.instances["plain"]], "datasource": "Prometheus"},
        scrape_interval=SCRAPE_INTERVAL_SECONDS,
    )
    assert picture.complaints() == []
    assert len(picture.panels) == len(list(grafana.panels(boards()[board])))


def test_they_are_what_the_types_of_grafana_allow() -> None:
    assert type_findings(*boards().values()) == []


@pytest.mark.parametrize("export", EXPORTS)
def test_variables_offer_what_there_is(live: Live, export: str) -> None:
    board = boards(*EXPORTS[export])["overview"]
    here = chosen(live, export, 1)
    offered = {}
    for variable in board["templating"]["list"]:
        if variable["type"] == "query":
            values = grafana.variables(board, {"instance": here["instance"]})
            query = grafana.interpolated(variable["query"], values)
            series, _, label = query.removeprefix("label_values(")[:-1].rpartition(", ")
            found = live.prometheus.get(f"label/{label}/values", **{"match[]": series})
            offered[variable["name"]] = set(found)
    assert offered.pop("job") == {"agents"}
    assert offered.pop("instance") >= {live.instances[export]}
    assert offered.pop("agent_name") >= set(AGENTS)
    assert offered.pop("provider") >= set(PROVIDERS)
    assert offered.pop("model") >= set(MODELS)
    assert offered.pop("tenant", {TENANT}) == {TENANT}
    assert offered == {}


@pytest.mark.parametrize("export", EXPORTS)
def test_deployments_are_annotated(live: Live, export: str) -> None:
    board = boards(*EXPORTS[export])["overview"]
    values = grafana.variables(board, chosen(live, export, 1))
    annotations = {entry["name"]: entry["expr"] for entry in board["annotations"]["list"]}
    for name in ("Deployments", "agentmetrics versions"):
        expr = grafana.interpolated(annotations[name], values)
        assert live.answers(grafana.Target(name, expr, instant=False)), expr


def test_a_filter_by_agent_leaves_the_others_out(live: Live) -> None:
    board = boards()["overview"]
    here = {**chosen(live, "plain", 1), "agent_name": [AGENTS[1]], "provider": [], "model": []}
    only = {name: values for name, values in here.items() if values}
    calls, total = (
        live.prometheus.value(next(t.expr for t in grafana.targets(board, which)))
        for which in (only, {"instance": here["instance"]})
    )
    assert 0 < calls < total


def test_a_program_that_is_gone_is_unreachable(
    prometheus: Callable[..., PrometheusServer],
) -> None:
    recorder = PrometheusRecorder(CollectorRegistry())
    pipeline_of(recorder)
    targets = grafana.targets(boards()["itself"], {})
    unreachable = next(target.expr for target in targets if target.panel == "Unreachable")
    with start_http_server_in_thread(recorder) as server:
        watching = prometheus(f"127.0.0.1:{server.port}")
        watching.scraped()
        assert watching.value(unreachable) == 0
    watching.until("up == 0")
    assert watching.value(unreachable) == 1
