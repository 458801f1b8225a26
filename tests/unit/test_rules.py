"""Alerts, recording rules and runbooks, as they are written down."""

from __future__ import annotations

import re
from collections.abc import Iterable

import promql_parser
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics.operations.naming import METRICS, in_namespace
from agentmetrics.operations.rules.alert import Alert
from agentmetrics.operations.rules.files import ALERTS, rule_files, runbooks
from agentmetrics.operations.rules.objectives import Objective, Objectives
from agentmetrics.operations.rules.promql import all_but, le, only
from agentmetrics.operations.rules.recording import recordings
from tests.promql import functions, selected

RECORDED = {rule.name: rule for rules in recordings(Objectives()).values() for rule in rules}
OF_PROMETHEUS = {"up": ("job", "instance")}
OF_TARGETS = {"job", "instance"}
PAGES = runbooks()
EVERY_ALERT = pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)


def check_names(promql: str) -> None:
    """Every series that an expression reads is one that exists, with these labels."""
    for name, labels in selected(promql):
        if name in RECORDED:
            allowed = {"job", "agent_name"}
        elif name in OF_PROMETHEUS:
            allowed = set(OF_PROMETHEUS[name])
        else:
            base = re.sub(r"_(bucket|sum|count)$", "", name)
            metric = METRICS[name if name in METRICS else base]
            assert (metric.kind == "histogram") == (name != metric.name), name
            allowed = {*metric.labels, *OF_TARGETS}
            if name.endswith("_bucket"):
                allowed.add("le")
        assert labels <= allowed, (name, labels - allowed)


class TestAlerts:
    def test_there_are_enough_and_each_has_a_name_of_its_own(self) -> None:
        names = [alert.name for alert in ALERTS]
        assert len(names) >= 30
        assert len(set(names)) == len(names)

    @EVERY_ALERT
    def test_an_alert_says_what_happened_and_how_much(self, alert: Alert) -> None:
        assert re.fullmatch(r"[A-Z][A-Za-z]+", alert.name)
        assert "$value" in alert.description
        assert alert.description.endswith(".")
        assert not alert.summary.endswith(".")
        shown = set(re.findall(r"\$labels\.(\w+)", alert.summary + alert.description))
        assert shown
        assert shown <= set(alert.labels)
        assert re.fullmatch(r"\d+[smh]", alert.for_)

    @EVERY_ALERT
    def test_an_alert_reads_series_that_exist_with_labels_that_they_have(
        self, alert: Alert
    ) -> None:
        check_names(alert.expr)

    @EVERY_ALERT
    def test_an_alert_is_not_made_of_single_samples(self, alert: Alert) -> None:
        assert "irate" not in functions(alert.expr)

    @EVERY_ALERT
    def test_an_alert_links_to_its_runbook_and_to_a_board_with_its_variables(
        self, alert: Alert
    ) -> None:
        said = alert.annotations("https://grafana.example", "https://runbooks.example")
        assert said["runbook_url"] == f"https://runbooks.example/{alert.name}.md"
        assert said["dashboard_url"].startswith("https://grafana.example/d/agentmetrics-")
        for label in {"job", "agent_name", "provider", "model"} & set(alert.labels):
            assert f"var-{label}={{{{ . | urlquery }}}}" in said["dashboard_url"]

    @EVERY_ALERT
    def test_an_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent(
        self, alert: Alert
    ) -> None:
        assert alert.fires
        assert alert.silent
        for case in alert.fires:
            assert set(case.labels) == set(alert.labels)
            assert case.value
            for series in case.series:
                check_names(series)
        for quiet in alert.silent:
            for series in quiet.series:
                check_names(series)


class TestRunbooks:
    def test_each_alert_has_a_page_and_the_index_lists_them_all(self) -> None:
        pages = dict(PAGES)
        index = pages.pop("runbooks/README.md")
        assert set(pages) == {f"runbooks/{alert.name}.md" for alert in ALERTS}
        assert re.findall(r"\]\((\w+)\.md\)", index) == [alert.name for alert in ALERTS]

    @EVERY_ALERT
    def test_a_page_has_every_section(self, alert: Alert) -> None:
        page = PAGES[f"runbooks/{alert.name}.md"]
        assert re.findall(r"^## (.*)$", page, re.MULTILINE) == [
            "What it means",
            "Who is hurt",
            "What to look at",
            "Usual causes",
            "What to do now",
            "How to silence it",
            "The rule",
        ]
        assert f"alertname={alert.name}" in page
        assert alert.runbook.causes
        assert len(alert.runbook.do_now) >= 2

    @EVERY_ALERT
    def test_a_query_reads_series_that_exist_with_labels_that_they_have(self, alert: Alert) -> None:
        assert alert.runbook.look_at
        for query in alert.runbook.look_at.values():
            check_names(query)
            assert "irate" not in functions(query)

    def test_queries_are_of_the_namespace(self) -> None:
        pages = runbooks("shop")
        for page in pages.values():
            for query in re.findall(r"```promql\n(.*?)\n```", page, re.DOTALL):
                for name, _ in selected(query):
                    assert name.startswith("shop_") or name in OF_PROMETHEUS


class TestRecordingRules:
    def test_a_rule_reads_series_that_exist(self) -> None:
        for rule in RECORDED.values():
            assert re.fullmatch(r"job_agent_name:\w+:\w+", rule.name)
            check_names(rule.expr)

    def test_a_rule_comes_after_those_that_it_reads(self) -> None:
        seen: set[str] = set()
        for rule in RECORDED.values():
            read = {name for name, _ in selected(rule.expr) if name in RECORDED}
            assert read <= seen, rule.name
            seen.add(rule.name)

    def test_an_agent_with_an_objective_of_its_own_is_left_out_of_the_default(self) -> None:
        own = Objectives(agents={"a.b": Objective(0.999), 'say "hi"': Objective(0.9)})
        burn = {r.name: r.expr for r in recordings(own)["availability"]}[
            "job_agent_name:llm_calls_failed:burn_rate5m"
        ]
        default, first, second = burn.split("\nor\n")
        assert default.endswith(r'{agent_name!~"a\\.b|say\\ \"hi\""} / 0.01')
        assert first.endswith('{agent_name="a.b"} / 0.001')
        assert second.endswith(r'{agent_name="say \"hi\""} / 0.1')


class TestMatchers:
    @pytest.mark.parametrize(
        ("bound", "written"), [(30.0, ("30", "30.0")), (0.5, ("0.5",)), (2.5, ("2.5",))]
    )
    def test_a_bucket_is_found_in_both_exposition_formats(
        self, bound: float, written: Iterable[str]
    ) -> None:
        for text in written:
            assert matches(le(bound), text)
        assert not matches(le(bound), "300")

    @given(st.text(min_size=1).filter(str.isprintable), st.text())
    def test_an_agent_of_any_name_is_matched_alone(self, name: str, other: str) -> None:
        assert matches(only(name), name)
        assert not matches(all_but([name, "x"]), name)
        assert matches(only(name), other) == (name == other)
        assert matches(all_but([name]), other) == (name != other)


def matches(matcher: str, value: str) -> bool:
    """Whether Prometheus would find a series with this value of the label."""
    selector = promql_parser.parse(f"x{{{matcher}}}")
    assert isinstance(selector, promql_parser.VectorSelector)
    (parsed,) = selector.matchers.matchers
    if parsed.op == promql_parser.MatchOp.Equal:
        return value == parsed.value
    found = re.fullmatch(parsed.value, value) is not None
    return found == (parsed.op == promql_parser.MatchOp.Re)


class TestNamespaces:
    def test_metrics_and_recorded_series_have_it_and_label_values_do_not(self) -> None:
        promql = (
            'sum by (model) (rate(llm_latency_seconds_bucket{agent_name="llm_calls_total"}[5m]))'
            " / job_agent_name:llm_calls:rate5m > up"
        )
        assert in_namespace(promql, "shop") == (
            'sum by (model) (rate(shop_llm_latency_seconds_bucket{agent_name="llm_calls_total"}'
            "[5m])) / shop_job_agent_name:llm_calls:rate5m > up"
        )
        assert in_namespace(promql, "") == promql

    def test_every_series_in_the_files_has_it(self) -> None:
        for path, text in rule_files(Objectives(), "shop").items():
            if path.startswith("prometheus/rules/"):
                for group in yaml.safe_load(text)["groups"]:
                    for rule in group["rules"]:
                        assert rule.get("record", "shop_").startswith("shop_")
                        for name, _ in selected(rule["expr"]):
                            assert name.startswith("shop_") or name in OF_PROMETHEUS


def test_links_begin_with_the_urls_that_were_given() -> None:
    files = rule_files(
        Objectives(), grafana_url="https://grafana.example/", runbooks_url="https://wiki.example/r/"
    )
    for path, text in files.items():
        assert "localhost" not in text
        assert "https://grafana.example/d/" in text, path
        assert "https://wiki.example/r/" in text, path
