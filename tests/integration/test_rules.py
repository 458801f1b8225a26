"""The exported rules in promtool: each alert fires where it is meant to, and nowhere else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from agentmetrics.operations.rules.files import ALERTS, rule_files
from agentmetrics.operations.rules.objectives import Objectives
from tests.services.process import required

OBJECTIVES = """
[default]
availability = 0.98

[agents.reviewer]
availability = 0.999
latency = { share = 0.99, seconds = 2.5 }

[agents."a|b (\\"c\\") llm_calls_total"]
availability = 0.6
latency = { share = 0.5, seconds = 60 }
first_token = { share = 0.9, seconds = 0.25 }
"""


def promtool(*arguments: str | Path) -> tuple[int, str]:
    """What promtool ends with, and says."""
    program = required("promtool", "prometheus")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=150)
    return done.returncode, done.stdout + done.stderr


def exported(directory: Path, files: Mapping[str, str]) -> Path:
    for path, text in files.items():
        file = directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return directory / "prometheus"


@pytest.fixture(scope="module")
def default_files() -> dict[str, str]:
    return rule_files(Objectives())


@pytest.fixture
def files(default_files: dict[str, str], tmp_path: Path) -> Path:
    """The directory of the files that are made without any option."""
    return exported(tmp_path, default_files)


def with_agents(directory: Path) -> Objectives:
    path = directory / "slo.toml"
    path.write_text(OBJECTIVES)
    return Objectives.from_toml(path)


def test_every_alert_fires_and_stays_silent_as_its_cases_say(files: Path) -> None:
    code, said = promtool("check", "rules", *files.glob("rules/*.yml"))
    assert code == 0, said
    assert "duplicate" not in said
    code, said = promtool("test", "rules", *files.glob("tests/*.yml"))
    assert code == 0, said


def test_so_it_does_in_a_namespace_with_objectives_by_agent(tmp_path: Path) -> None:
    files = exported(tmp_path, rule_files(with_agents(tmp_path), "shop"))
    code, said = promtool("check", "rules", *files.glob("rules/*.yml"))
    assert code == 0, said
    code, said = promtool("test", "rules", *files.glob("tests/*.yml"))
    assert code == 0, said


def test_each_alert_is_tested_both_ways(files: Path) -> None:
    firing: set[str] = set()
    silent: set[str] = set()
    for path in files.glob("tests/*.yml"):
        for test in yaml.safe_load(path.read_text())["tests"]:
            (look,) = test["alert_rule_test"]
            (firing if look["exp_alerts"] else silent).add(look["alertname"])
    assert firing == silent == {alert.name for alert in ALERTS}


@pytest.mark.parametrize(
    ("subject", "written", "instead", "failing"),
    [
        pytest.param("providers", "> 0.2", "> 0.9", "ProviderFailing fires", id="a threshold"),
        pytest.param("providers", "> 0.05", "> 0.01", "ProviderRateLimited stays", id="a low one"),
        pytest.param(
            "availability", ">= 10", ">= 0", "BurnFast stays silent: six", id="a floor of traffic"
        ),
        pytest.param(
            "availability", "burn_rate30m > 6", "burn_rate6h > 6", "BurnFast stays silent: it is",
            id="a short window",
        ),
        pytest.param("http", "for: 10m", "for: 10h", "HTTPSlow fires", id="how long it must last"),
        pytest.param("tools", "job, agent_name", "agent_name", "ToolFailing fires", id="a label"),
        pytest.param(
            "providers",
            'error_type="authentication"} unless',
            'error_type="authentication"} and',
            "ProviderRejectsKey fires",
            id="the first increment",
        ),
        pytest.param(
            "database", "(db_connections_max > 0)", "db_connections_max",
            "DatabasePoolExhausted stays", id="a pool without a limit",
        ),
        pytest.param(
            "stuck", "tool_executions_total", "retriever_queries_total", "AgentStuck stays",
            id="an agent that only runs tools",
        ),
        pytest.param("budgets", "printf", "humanize | printf", "BudgetBlocksCalls fires",
                     id="how a value is written"),
        pytest.param("tools", 'le=~"0(\\\\.0)?"', 'le="0.0"', "RetrieverFindsNothing fires",
                     id="a bucket in the other format"),
    ],
)  # fmt: skip
def test_an_alert_that_is_broken_fails_its_tests(
    files: Path, subject: str, written: str, instead: str, failing: str
) -> None:
    rules = files / "rules" / f"{subject}.yml"
    text = rules.read_text()
    assert written in text
    rules.write_text(text.replace(written, instead))
    code, said = promtool("test", "rules", files / "tests" / f"{subject}.yml")
    assert code != 0
    assert failing in said


def test_no_clause_and_no_threshold_of_an_alert_can_change_unnoticed(
    files: Path, tmp_path: Path
) -> None:
    changed: dict[Path, str] = {}
    for path in sorted(files.glob("rules/*.yml")):
        tests = yaml.safe_load((files / "tests" / path.name).read_text())
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                for what, expr in changes(rule["expr"]):
                    if ":" in expr or "alert" not in rule:
                        continue  # burn rates, of which every clause is tested by hand
                    file = tmp_path / f"{len(changed)}.yml"
                    changed[file] = f"{rule['alert']}: {what}"
                    write_changed(file, rule, expr, tests)
    assert len(changed) > 100
    _, said = promtool("test", "rules", *changed)
    assert "parse error" not in said
    assert said.count("Unit Testing") == len(changed)
    unnoticed = re.findall(r"Unit Testing: +(\S+)\s+SUCCESS", said)
    assert [changed[Path(file)] for file in unnoticed] == []


def changes(expr: str) -> Iterator[tuple[str, str]]:
    """The expression without one of its clauses, or with a threshold three times as high or low.

    The least number of calls is no threshold: that is only to be there.
    """
    for word in ("\nand ", "\nunless "):
        clauses = expr.split(word)
        for number in range(1, len(clauses)):
            kept = word.join(clauses[:number] + clauses[number + 1 :])
            if kept.count("(") == kept.count(")"):  # else it is a clause in parentheses
                yield f"without {clauses[number]}", kept
    for found in re.finditer(r"([<>]) ([\d.]+)(?![\d.]| \*)", expr):
        for factor in (3, 1 / 3):
            threshold = float(found[2]) * factor
            if threshold:
                changed = f"{found[1]} {threshold:.6f}"
                yield changed, expr[: found.start()] + changed + expr[found.end() :]


def write_changed(file: Path, rule: dict[str, Any], expr: str, tests: dict[str, Any]) -> None:
    """A test file of one alert, with the rule that it tests beside it."""
    rules = file.with_suffix(".rules.yml")
    groups = [{"name": "changed", "rules": [{**rule, "expr": expr}]}]
    rules.write_text(json.dumps({"groups": groups}))  # JSON is YAML
    own = [
        test for test in tests["tests"]
        if test["alert_rule_test"][0]["alertname"] == rule["alert"]
    ]  # fmt: skip
    changed = {"rule_files": [rules.name], "evaluation_interval": "5m", "tests": own}
    file.write_text(json.dumps(changed))


def test_an_agent_is_not_judged_by_the_default_beside_its_own_objective(tmp_path: Path) -> None:
    files = exported(tmp_path, rule_files(with_agents(tmp_path)))
    rules = files / "rules" / "availability.yml"
    text = rules.read_text()
    left_out = r'agent_name!~"reviewer|a\\|b\\ \\(\"c\"\\)\\ llm_calls_total"'
    assert left_out in text
    rules.write_text(text.replace(left_out, 'agent_name!~"none"'))
    code, said = promtool("test", "rules", files / "tests" / "availability.yml")
    assert code != 0
    assert "a|b" in said


IDLE = """
import sys
import agentmetrics
from agentmetrics import Budget, exposition
agentmetrics.configure(
    backend="prometheus",
    ledger_url=sys.argv[1],
    budgets=[Budget("team", limit_usd=50, action="block"), Budget("all", 9, period="monthly")],
)
agentmetrics.expect(agents=["planner", "writer"], models=["openai:gpt-4o", "anthropic:claude"])
agentmetrics.get_ledger().flush()
print(agentmetrics.get_recorder().exposition("")[0].decode())
"""


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a program exposes that expects agents, has budgets and a ledger, and made no call."""
    url = f"sqlite:///{tmp_path_factory.mktemp('idle') / 'spend.db'}"
    program = [sys.executable, "-c", IDLE, url]
    text = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    return {
        f"{sample.name}{{{_matchers(sample.labels)}}}": f"{sample.value:.6f}x130"
        for sample in samples
    }


def _matchers(labels: Mapping[str, str]) -> str:
    named = {"job": "app", "instance": "a:9464", **labels}
    return ", ".join(f"{name}={json.dumps(value)}" for name, value in named.items())


@pytest.mark.parametrize(
    ("up", "firing"), [(1, False), (0, True)], ids=["it is up", "it is down, which is noticed"]
)
def test_no_alert_fires_for_two_hours_of_a_program_that_does_nothing(
    files: Path, idle: Mapping[str, str], up: int, firing: bool
) -> None:
    series = {**idle, 'up{job="app", instance="a:9464"}': f"{up}x130"}
    assert len(series) > 100
    looks: list[dict[str, Any]] = [
        {"eval_time": moment, "alertname": alert.name, "exp_alerts": []}
        for alert in ALERTS
        for moment in ("1m", "10m", "1h", "2h")
    ]
    file = files / "tests" / "idle.yml"
    tests = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": looks,
    }
    rules = [str(path) for path in files.glob("rules/*.yml")]
    file.write_text(json.dumps({"rule_files": rules, "tests": [tests]}))
    code, said = promtool("test", "rules", file)
    assert (code != 0) == firing, said
    assert ("ServiceDown" in said) == firing
