"""The Grafana boards for a namespace and extra labels of the user."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from agentmetrics.operations.boards import boards
from agentmetrics.operations.naming import METRICS
from tests.services import grafana
from tests.services.promql import (
    PROMETHEUS_OWN,
    metric_of,
    parsed,
    promql_of,
    queries,
    selectors,
    variables,
)

NAMES = st.from_regex(r"(?!__)[a-z][a-z0-9_]{0,9}", fullmatch=True)
PLAIN = boards()


@settings(max_examples=8, deadline=None)  # of six boards, each
@given(NAMES, st.lists(NAMES.map("x_{}".format), max_size=3, unique=True))
def test_names_are_in_the_namespace_and_what_has_extra_labels_is_selected_by_them(
    namespace: str, labels: list[str]
) -> None:
    for board in boards(namespace, labels).values():
        for expr in queries(board):
            for selector in selectors(parsed(board, expr)):
                if selector.name in PROMETHEUS_OWN:
                    continue
                assert selector.name.startswith(f"{namespace}_"), expr
                metric = METRICS[metric_of(selector.name.removeprefix(f"{namespace}_"))]
                matched = [matcher.name for matcher in selector.matchers.matchers]
                wanted = labels if metric.extended else []
                assert [name for name in matched if name in labels] == wanted, expr


def test_variables_and_annotations_are_in_the_namespace() -> None:
    for board in boards("acme", ("tenant",)).values():
        for expr in promql_of(board):
            for selector in selectors(parsed(board, expr)):
                assert selector.name in PROMETHEUS_OWN or selector.name.startswith("acme_")


def test_a_variable_for_each_extra_label_stands_before_the_agents() -> None:
    board = boards(extra_labels=("tenant", "task_type"))["overview"]
    names = list(variables(board))
    assert names[2:6] == ["instance", "tenant", "task_type", "agent_name"]
    tenant, task_type = variables(board)["tenant"], variables(board)["task_type"]
    assert tenant["multi"]
    assert tenant["includeAll"]
    assert "$tenant" not in tenant["query"]
    assert 'tenant=~"$tenant"' in task_type["query"]
    assert task_type["label"] == "Task type"


def test_costs_can_be_grouped_by_an_extra_label() -> None:
    group_by = variables(boards(extra_labels=("team",))["cost"])["group_by"]
    assert group_by["query"] == "agent_name,provider,model,team"
    assert group_by["options"][-1] == {"selected": False, "text": "team", "value": "team"}


def test_a_board_without_such_metrics_has_no_variable_for_a_label() -> None:
    assert "tenant" not in variables(boards(extra_labels=("tenant",))["itself"])


def test_descriptions_name_metrics_as_they_are_exposed() -> None:
    board = boards("acme")["overview"]
    described = next(grafana.panels(board))["description"]
    assert "`acme_llm_calls_total`" in described


def test_a_label_with_the_name_of_a_variable_has_a_variable_of_another_name() -> None:
    board = boards(extra_labels=("team", "group_by"))["overview"]
    by_name = variables(board)
    assert "label_values(llm_calls_total{" in by_name["label_group_by"]["query"]
    assert by_name["label_group_by"]["query"].endswith(", group_by)")
    expressions = [target["expr"] for panel in grafana.panels(board) for target in panel["targets"]]
    assert any('group_by=~"$label_group_by"' in expression for expression in expressions)
    assert not any('group_by=~"$group_by"' in expression for expression in expressions)


def test_only_metrics_that_get_the_labels_are_selected_by_them() -> None:
    board = boards(extra_labels=("tenant",), extra_labels_for=("cost",))["overview"]
    by_tenant = {
        metric_of(selector.name)
        for panel in grafana.panels(board)
        for target in panel["targets"]
        if "$tenant" in target["expr"]
        for selector in selectors(parsed(board, target["expr"]))
        if any(matcher.name == "tenant" for matcher in selector.matchers.matchers)
    }
    assert by_tenant == {"llm_cost_usd_total"}
    assert "llm_cost_usd_total" in variables(board)["tenant"]["query"]


def test_one_export_leaves_the_next_as_it_is() -> None:
    boards("acme", ("tenant",))
    assert boards() == PLAIN
