"""Rules, their tests and runbooks as files, by relative path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agentmetrics.operations.naming import in_namespace
from agentmetrics.operations.rules import pages
from agentmetrics.operations.rules.alert import Alert, Fires, Silent
from agentmetrics.operations.rules.objectives import Objectives
from agentmetrics.operations.rules.recording import Recording, recordings
from agentmetrics.operations.rules.subjects import ALERTS, subjects
from agentmetrics.operations.yaml_text import dump

__all__ = ["ALERTS", "GRAFANA_URL", "RUNBOOKS_URL", "Objectives", "rule_files", "runbooks"]

GRAFANA_URL = "http://localhost:3000"
RUNBOOKS_URL = (
    "https://github.com/llm-agentmetrics/agentmetrics/blob/main/agentmetrics/dashboards/runbooks"
)


def rule_files(
    objectives: Objectives,
    namespace: str = "",
    *,
    grafana_url: str = GRAFANA_URL,
    runbooks_url: str = RUNBOOKS_URL,
) -> dict[str, str]:
    """``prometheus/rules/*.yml`` and, for promtool, ``prometheus/tests/*.yml``.

    ``namespace`` is the one of ``AGENTMETRICS_NAMESPACE``; the URLs begin the links of alerts.
    """
    urls = (grafana_url.rstrip("/"), runbooks_url.rstrip("/"))
    files = {}
    for name, alerts in subjects(objectives).items():
        groups = [_group(name, [_alert(alert, namespace, *urls) for alert in alerts])]
        recorded = recordings(objectives).get(name, ())
        if recorded:
            rules = [_recording(rule, namespace) for rule in recorded]
            groups.insert(0, _group(f"{name}-recording", rules))
        tests = [test for alert in alerts for test in _tests(alert, namespace, urls)]
        files[f"prometheus/rules/{name}.yml"] = _yaml({"groups": groups})
        files[f"prometheus/tests/{name}.yml"] = _yaml(
            {
                "rule_files": [f"../rules/{name}.yml"],
                "evaluation_interval": "5m",
                "group_eval_order": [group["name"] for group in groups],
                "tests": tests,
            }
        )
    return files


def runbooks(namespace: str = "") -> dict[str, str]:
    """``runbooks/<Alert>.md`` for each alert, and ``runbooks/README.md``, which lists them."""
    named = {f"runbooks/{alert.name}.md": pages.runbook(alert, namespace) for alert in ALERTS}
    return {"runbooks/README.md": pages.index(subjects(Objectives())), **named}


def _group(name: str, rules: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": f"agentmetrics-{name}", "rules": rules}


def _recording(rule: Recording, namespace: str) -> dict[str, Any]:
    return {
        "record": in_namespace(rule.name, namespace),
        "expr": in_namespace(rule.expr, namespace),
    }


def _alert(alert: Alert, namespace: str, grafana_url: str, runbooks_url: str) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": in_namespace(alert.expr, namespace),
        "for": alert.for_,
        "labels": {"severity": alert.severity},
        "annotations": alert.annotations(grafana_url, runbooks_url),
    }


def _tests(alert: Alert, namespace: str, urls: tuple[str, str]) -> Iterator[dict[str, Any]]:
    for case in alert.fires:
        expected = {
            "exp_labels": {**case.labels, "severity": alert.severity},
            "exp_annotations": alert.annotations_in(case, *urls),
        }
        yield _test(f"{alert.name} fires", alert, case, namespace, [expected])
    for quiet in alert.all_silent:
        yield _test(f"{alert.name} stays silent: {quiet.because}", alert, quiet, namespace, [])


def _test(
    name: str, alert: Alert, case: Fires | Silent, namespace: str, expected: list[dict[str, Any]]
) -> dict[str, Any]:
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": in_namespace(series, namespace), "values": values}
            for series, values in case.series.items()
        ],
        "alert_rule_test": [
            {"eval_time": case.at, "alertname": alert.name, "exp_alerts": expected}
        ],
    }


def _yaml(content: object) -> str:
    return "# Made by agentmetrics ops export.\n" + dump(content)
