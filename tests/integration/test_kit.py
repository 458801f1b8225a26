"""The exported kit in the hands of promtool, amtool, a real Prometheus and a real Alertmanager."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from agentmetrics import Budget, BudgetExceeded, Budgets, PrometheusRecorder, track_call
from agentmetrics.exposition import start_http_server_in_thread
from agentmetrics.operations.alertmanager import INHIBITIONS
from agentmetrics.operations.export import write_kit
from agentmetrics.operations.kit import KitOptions, make_kit
from agentmetrics.operations.receivers import RECEIVERS, receiver
from agentmetrics.operations.rules.objectives import Objectives
from agentmetrics.operations.rules.subjects import ALERTS as ALL_ALERTS
from agentmetrics.recording.layers.namespace import Namespace
from agentmetrics.recording.recorder import Recorder
from tests.services.alertmanager import (
    Inbox,
    inhibited,
    post_alerts,
    receiving,
    running_alertmanager,
)
from tests.services.process import required
from tests.services.prometheus import running_with
from tests.unit.test_kit import ENVIRONMENT

PACKAGES = {"promtool": "prometheus", "amtool": "prometheus-alertmanager"}
OBJECTIVES = """
[default]
availability = 0.995
latency = { share = 0.9, seconds = 10 }
[agents.planner]
first_token = { share = 0.99, seconds = 1 }
"""


def check(program: str, *arguments: str | Path) -> str:
    """What one of the servers' own tools says; it must end well."""
    command = [required(program, PACKAGES[program]), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``exported(namespace="shop")`` is a directory with the kit for these options."""

    def export(**options: Any) -> Path:
        directory = tmp_path_factory.mktemp("exported") / "kit"
        write_kit(make_kit(KitOptions(**options)), directory)
        return directory

    return export


@pytest.fixture(scope="module", params=["default", "namespace", "objectives"])
def kit(
    request: pytest.FixtureRequest,
    exported: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """An exported kit, with each option that changes what Prometheus reads."""
    file = tmp_path_factory.mktemp("objectives") / "slo.toml"
    file.write_text(OBJECTIVES)
    options: dict[str, dict[str, Any]] = {
        "default": {},
        "namespace": {"namespace": "shop"},
        "objectives": {"objectives": Objectives.from_toml(file)},
    }
    return exported(**options[request.param])


class TestEveryFile:
    def test_promtool_takes_the_configuration_and_every_rule(self, kit: Path) -> None:
        said = check("promtool", "check", "config", kit / "prometheus/prometheus.yml")
        rules = sorted((kit / "prometheus/rules").glob("*.yml"))
        assert f"{len(rules)} rule files found" in said
        assert "is valid prometheus config" in said
        assert all(str(path) in said for path in rules)

    def test_the_tests_of_the_rules_pass(self, kit: Path) -> None:
        tests = sorted((kit / "prometheus/tests").glob("*.yml"))
        assert check("promtool", "test", "rules", *tests).count("SUCCESS") == len(tests) > 0

    def test_amtool_takes_the_configuration(self, kit: Path) -> None:
        said = check("amtool", "check-config", kit / "alertmanager/alertmanager.yml")
        assert "SUCCESS" in said
        assert "1 receivers" in said


@pytest.mark.parametrize("name", RECEIVERS)
def test_amtool_takes_the_configuration_of_every_receiver(
    exported: Callable[..., Path], name: str
) -> None:
    kit = exported(receiver=receiver(name, ENVIRONMENT))
    said = check("amtool", "check-config", kit / "alertmanager/alertmanager.yml")
    assert "SUCCESS" in said
    assert "1 receivers" in said


@pytest.mark.parametrize("name", RECEIVERS)
def test_alertmanager_starts_with_every_receiver(
    exported: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    kit = exported(receiver=receiver(name, ENVIRONMENT), parts=("alertmanager",))
    config = kit / "alertmanager/alertmanager.yml"
    with running_alertmanager(config, tmp_path / "data") as address:
        assert address


def test_a_critical_alert_silences_the_warnings_that_say_the_same(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    kit = exported(parts=("alertmanager",))
    pairs = {(source, target) for source, targets in INHIBITIONS.items() for target in targets}
    names = {name for pair in pairs for name in pair}
    common = {label: "x" for alert in ALL_ALERTS if alert.name in names for label in alert.labels}
    here = [{"labels": {**common, "alertname": name}} for name in sorted(names)]
    elsewhere = [{"labels": {"job": "y", "alertname": target}} for _, target in pairs]
    config = kit / "alertmanager/alertmanager.yml"
    with running_alertmanager(config, tmp_path / "data") as address:
        post_alerts(address, here + elsewhere)
        silenced = {("x", target) for _, target in pairs}
        assert inhibited(address, len(silenced)) == silenced


def test_prometheus_gives_the_demo_the_namespace_that_rules_and_boards_have(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    config = exported(namespace="shop") / "prometheus/prometheus.yml"
    recorder = PrometheusRecorder(CollectorRegistry())
    with track_call("openai", "gpt-4o", agent_name="planner", recorder=recorder) as call:
        call.record_usage(100, 10)
    with start_http_server_in_thread(recorder) as metrics:
        target = f"127.0.0.1:{metrics.port}"
        config.write_text(config.read_text().replace("demo:9464", target))
        hastened_prometheus(config, "127.0.0.1:9")
        with running_with(config, tmp_path, [target]) as prometheus:
            prometheus.scraped()
            names = prometheus.values("count by (__name__) ({job='agentmetrics-demo'})", "__name__")
            assert prometheus.value('sum(shop_llm_tokens_total{agent_name="planner"})') == 110
            others = {name for (name,) in names if not name.startswith("shop_")}
            assert all(name == "up" or name.startswith("scrape_") for name in others)


# From a fault in a program to whom Alertmanager tells


class AuthenticationError(Exception):
    """As a provider's SDK raises it."""

    status_code = 401


def go_wrong(recorder: Recorder) -> None:
    """A model without a price, a key that the provider rejects, a budget that blocks."""
    with track_call("openai", "nobodys-model", agent_name="planner", recorder=recorder) as call:
        call.record_usage(100, 10)
    for _ in range(3):
        with (
            suppress(AuthenticationError),
            track_call("anthropic", "claude-sonnet-4-5", agent_name="writer", recorder=recorder),
        ):
            raise AuthenticationError
    for _ in range(2):
        with (
            suppress(BudgetExceeded),
            track_call("openai", "gpt-4o", agent_name="spender", recorder=recorder) as call,
        ):
            call.record_usage(1_000_000, 0)


@pytest.fixture(scope="module", params=["", "shop"], ids=["plain", "in a namespace"])
def told(
    request: pytest.FixtureRequest,
    exported: Callable[..., Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Inbox]:
    """What Alertmanager posted, with Prometheus and Alertmanager as exported.

    Only how often they look, and how long they wait for more, is shortened.
    """
    registry = PrometheusRecorder(CollectorRegistry())
    recorder = Namespace(registry, request.param) if request.param else registry
    scope = {"agent_name": "spender"}
    budgets = Budgets([Budget("tiny", 0.01, scope=scope, action="block")], recorder)
    data = tmp_path_factory.mktemp("data")
    with receiving() as inbox, start_http_server_in_thread(registry) as metrics:
        target = f"127.0.0.1:{metrics.port}"
        kit = exported(
            namespace=request.param,
            receiver=receiver("webhook", {"WEBHOOK_URL": inbox.url}),
            parts=("prometheus", "alertmanager"),
        )
        (kit / "prometheus/targets.yml").write_text(yaml.safe_dump([{"targets": [target]}]))
        config = hastened_alertmanager(kit / "alertmanager/alertmanager.yml")
        with running_alertmanager(config, data / "alertmanager") as alertmanager:
            config = hastened_prometheus(kit / "prometheus/prometheus.yml", alertmanager)
            with running_with(config, data, [target]) as prometheus:
                prometheus.scraped()
                go_wrong(recorder)
                yield inbox
    budgets.close()


def hastened_alertmanager(path: Path) -> Path:
    config = yaml.safe_load(path.read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "0s", "group_interval": "1s"}
    path.write_text(yaml.safe_dump(config))
    return path


def hastened_prometheus(path: Path, alertmanager: str) -> Path:
    config = yaml.safe_load(path.read_text())
    config["global"] = {
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "evaluation_interval": "1s",
    }
    config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [alertmanager]
    path.write_text(yaml.safe_dump(config))
    return path


ALERTS = {
    "CallsUnpriced": {"severity": "warning", "provider": "openai", "model": "nobodys-model"},
    "ProviderRejectsKey": {"severity": "critical", "provider": "anthropic"},
    "BudgetBlocksCalls": {"severity": "critical", "budget": "tiny", "period": "daily"},
}


def test_a_fault_in_a_program_reaches_whom_alertmanager_tells(told: Inbox) -> None:
    alerts = told.wait_for(*ALERTS)
    for name, labels in ALERTS.items():
        common = {"alertname": name, "job": "agentmetrics"}
        assert alerts[name]["labels"] == {**common, **labels}


def test_what_is_told_explains_itself_and_links_to_a_runbook_and_a_board(told: Inbox) -> None:
    alerts = told.wait_for(*ALERTS)
    said = {name: alert["annotations"] for name, alert in alerts.items()}
    assert said["CallsUnpriced"]["summary"] == "nobodys-model has no price"
    assert "Calls to nobodys-model (openai)" in said["CallsUnpriced"]["description"]
    assert "1 in the last hour" in said["CallsUnpriced"]["description"]
    assert said["BudgetBlocksCalls"]["summary"] == "The daily budget tiny blocks calls"
    assert said["ProviderRejectsKey"]["summary"] == "anthropic rejects the key"
    for name, notes in said.items():
        assert notes["runbook_url"].endswith(f"/runbooks/{name}.md")
        url, _, variables = notes["dashboard_url"].partition("?")
        assert url.startswith("http://localhost:3000/d/agentmetrics-")
        assert "var-job=agentmetrics" in variables.split("&")


def test_alerts_are_told_in_groups_of_one_name(told: Inbox) -> None:
    told.wait_for(*ALERTS)
    for post in told.posted:
        assert len({alert["labels"]["alertname"] for alert in post["alerts"]}) == 1
