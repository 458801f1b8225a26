"""The Grafana boards as they are exported: their variables, panels, queries and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from agentmetrics.catalog import STATUSES
from agentmetrics.operations.boards import BOARDS, boards
from agentmetrics.operations.naming import METRICS
from tests.services import grafana
from tests.services.promql import (
    PROMETHEUS_OWN,
    is_counter,
    metric_of,
    nodes,
    parsed,
    promql_of,
    queries,
    selectors,
    variables,
)

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHAIN = ("job", "instance", "agent_name", "provider", "model")
KNOWN = [
    *("Total requests", "Total cost", "Cache hit rate", "Error rate"),
    *("Requests by agent", "Cost by $group_by", "Latency", "Tokens by model"),
    *("Cache hits beside misses", "Error rate by provider", "Cost by model"),
    *("Active requests", "Success rate"),
]
"""The panels that a team with a dashboard of its own already knows."""
PLAIN = boards()


@pytest.fixture(params=BOARDS)
def board(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Each board in turn."""
    return PLAIN[request.param]


class TestVariables:
    def test_the_data_source_is_one_of_them(self, board: dict[str, Any]) -> None:
        assert board["templating"]["list"][0]["name"] == "datasource"
        assert variables(board)["datasource"]["type"] == "datasource"
        assert variables(board)["datasource"]["query"] == "prometheus"

    def test_nothing_names_a_data_source_of_its_own(self, board: dict[str, Any]) -> None:
        def sources(part: Any) -> Iterator[Any]:
            if isinstance(part, dict):
                for key, value in part.items():
                    if key == "datasource" and isinstance(value, dict):
                        yield value
                    else:
                        yield from sources(value)
            elif isinstance(part, list):
                for value in part:
                    yield from sources(value)

        found = list(sources(board))
        assert len(found) > len(board["panels"])
        assert all(source == DATASOURCE for source in found)

    def test_each_takes_many_values_or_all_and_follows_the_time_range(
        self, board: dict[str, Any]
    ) -> None:
        queries = {n: v for n, v in variables(board).items() if v["type"] == "query"}
        assert list(queries) == list(CHAIN[: len(queries)])
        assert {"job", "instance"} <= set(queries)
        for variable in queries.values():
            assert variable["multi"]
            assert variable["includeAll"]
            assert variable["allValue"] == ".*"
            assert variable["refresh"] == 2  # on a change of the time range
            assert variable["current"]["value"] == ["$__all"]

    def test_each_is_narrowed_by_those_before_it(self, board: dict[str, Any]) -> None:
        before: list[str] = []
        for name, variable in variables(board).items():
            if variable["type"] == "query":
                assert re.findall(r"\$(\w+)", variable["query"]) == before
                before.append(name)

    def test_a_filter_of_ones_own_can_be_added(self, board: dict[str, Any]) -> None:
        assert variables(board)["filters"]["type"] == "adhoc"

    def test_the_service_level_is_for_the_reader_to_change(self) -> None:
        found = {n: v["query"] for n, v in variables(PLAIN["overview"]).items() if "slo" in n}
        assert found == {"slo_availability": "0.99", "slo_latency": "30", "slo_first_token": "5"}

    def test_each_is_used(self, board: dict[str, Any]) -> None:
        text = " ".join(promql_of(board))
        names = set(variables(board)) - {"datasource", "filters"}
        assert {name for name in names if f"${name}" not in text} == set()


class TestBoards:
    def test_they_have_fixed_uids(self) -> None:
        assert list(PLAIN) == ["overview", "agent", "cost", "models", "platform", "itself"]
        for name, board in PLAIN.items():
            assert board["uid"] == f"agentmetrics-{name}"
            assert "id" not in board

    def test_they_refresh_in_the_time_zone_of_the_reader_and_cannot_be_edited(
        self, board: dict[str, Any]
    ) -> None:
        assert board["refresh"] == "30s"
        assert board["timezone"] == "browser"
        assert board["editable"] is False
        assert board["graphTooltip"] == 1  # one crosshair for all panels
        assert board["title"]
        assert board["description"]

    def test_the_menu_of_boards_keeps_variables_and_time(self, board: dict[str, Any]) -> None:
        (menu,) = board["links"]
        assert menu["type"] == "dashboards"
        assert menu["asDropdown"]
        assert menu["includeVars"]
        assert menu["keepTime"]
        assert set(menu["tags"]) <= set(board["tags"])

    def test_deployments_and_budget_alerts_are_annotated(self, board: dict[str, Any]) -> None:
        annotations = {entry["name"]: entry["expr"] for entry in board["annotations"]["list"]}
        assert "service_info" in annotations["Deployments"]
        assert "agentmetrics_build_info" in annotations["agentmetrics versions"]
        assert 'alertstate="firing"' in annotations["Budget alerts"]

    def test_the_overview_has_what_teams_know(self) -> None:
        titles = [panel["title"] for panel in grafana.panels(PLAIN["overview"])]
        assert [title for title in KNOWN if title not in titles] == []


class TestPanels:
    def test_they_have_a_title_a_unit_and_a_description_that_names_their_metrics(
        self, board: dict[str, Any]
    ) -> None:
        for panel in grafana.panels(board):
            assert panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            for target in panel["targets"]:
                for selector in selectors(parsed(board, target["expr"])):
                    assert f"`{metric_of(selector.name)}`" in panel["description"]

    def test_they_say_what_is_missing(self, board: dict[str, Any]) -> None:
        for panel in grafana.panels(board):
            defaults = panel["fieldConfig"]["defaults"]
            said = {m["options"]["match"]: m["options"]["result"] for m in defaults["mappings"]}
            assert said["null+nan"]["text"] == "No traffic"
            assert defaults["noValue"]

    def test_they_stand_beside_each_other(self, board: dict[str, Any]) -> None:
        def apart(one: dict[str, int], other: dict[str, int]) -> bool:
            return (
                one["x"] + one["w"] <= other["x"]
                or other["x"] + other["w"] <= one["x"]
                or one["y"] + one["h"] <= other["y"]
                or other["y"] + other["h"] <= one["y"]
            )

        places = [panel["gridPos"] for panel in board["panels"]]
        assert all(place["x"] + place["w"] <= 24 for place in places)
        assert all(apart(one, other) for one, other in combinations(places, 2))

    def test_they_have_ids_of_their_own(self, board: dict[str, Any]) -> None:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)

    def test_they_stand_under_headings(self, board: dict[str, Any]) -> None:
        assert board["panels"][0]["type"] == "row"

    def test_a_status_has_the_same_colour_everywhere(self) -> None:
        colours: dict[str, set[str]] = {status: set() for status in STATUSES}
        for board in PLAIN.values():
            for panel in grafana.panels(board):
                if any(t.get("legendFormat") == "{{status}}" for t in panel["targets"]):
                    found = {
                        override["matcher"]["options"]: override["properties"][0]["value"]
                        for override in panel["fieldConfig"]["overrides"]
                    }
                    for status in STATUSES:
                        colours[status].add(found[status]["fixedColor"])
        assert all(len(found) == 1 for found in colours.values())
        assert len(set.union(*colours.values())) == len(STATUSES)

    def test_links_lead_to_boards_and_set_variables_that_these_have(
        self, board: dict[str, Any]
    ) -> None:
        by_uid = {other["uid"]: other for other in PLAIN.values()}
        links = set(re.findall(r"/d/([\w-]+)\?([^\"]+)", str(board)))
        for uid, query in links:
            assert uid in by_uid
            names = re.findall(r"var-(\w+)=|\$\{(\w+):queryparam\}", query)
            assert {a or b for a, b in names} <= set(variables(by_uid[uid]))

    def test_agents_in_tables_lead_to_their_board(self) -> None:
        for name in ("overview", "agent", "cost"):
            tables = [p for p in grafana.panels(PLAIN[name]) if p["type"] == "table"]
            for panel in tables:
                if "agent_name" in str(panel["transformations"]):
                    assert "/d/agentmetrics-agent?var-agent_name=" in str(panel["fieldConfig"])


class TestQueries:
    def test_they_are_promql(self, board: dict[str, Any]) -> None:
        for expr in promql_of(board):
            assert selectors(parsed(board, expr)) or expr.startswith("vector("), expr

    def test_their_metrics_are_in_the_catalogue(self, board: dict[str, Any]) -> None:
        for expr in promql_of(board):
            for selector in selectors(parsed(board, expr)):
                metric = metric_of(selector.name)
                assert metric in METRICS or metric in PROMETHEUS_OWN, expr
                if metric in METRICS and METRICS[metric].kind == "histogram":
                    assert selector.name != metric, expr

    def test_they_select_by_each_variable_that_a_metric_has_the_label_of(
        self, board: dict[str, Any]
    ) -> None:
        for panel in grafana.panels(board):
            for target in panel["targets"]:
                for selector in selectors(parsed(board, target["expr"])):
                    metric = METRICS.get(metric_of(selector.name))
                    labels = (*CHAIN[:2], *(metric.labels if metric else ()))
                    wanted = {label for label in labels if label in CHAIN}
                    matched = {matcher.name for matcher in selector.matchers.matchers}
                    if panel["title"] == "Fallback rate":  # fallbacks are not by agent
                        wanted &= set(CHAIN[:2])
                    assert wanted <= matched, target["expr"]

    def test_they_take_rates_over_the_interval_and_numbers_over_the_range(
        self, board: dict[str, Any]
    ) -> None:
        for panel in grafana.panels(board):
            for target in panel["targets"]:
                over = set(re.findall(r"\[([^\]]+)\]", target["expr"]))
                allowed = {"$__range"} if target["instant"] else {"$__rate_interval", "$__range"}
                assert over <= allowed, target["expr"]
                rates = re.findall(r"(?:rate|increase)\([^\[]*\[([^\]]+)\]", target["expr"])
                assert target["instant"] or set(rates) <= {"$__rate_interval"}, target["expr"]
                assert "irate(" not in target["expr"]

    def test_counters_are_added_up_after_their_rate(self, board: dict[str, Any]) -> None:
        for expr in queries(board):
            for node, around in nodes(parsed(board, expr)):
                if type(node).__name__ == "VectorSelector" and is_counter(node.name):
                    kinds = [type(outer).__name__ for outer in around[-3:]]
                    assert kinds == ["AggregateExpr", "Call", "MatrixSelector"], expr
                    assert around[-2].func.name in ("rate", "increase"), expr

    def test_each_of_a_panel_has_a_name(self, board: dict[str, Any]) -> None:
        for panel in grafana.panels(board):
            refs = [target["refId"] for target in panel["targets"]]
            assert refs == [chr(ord("A") + place) for place in range(len(refs))]
