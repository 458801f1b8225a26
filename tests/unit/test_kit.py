"""The operations kit as text: what its files say, for which options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import agentmetrics
from agentmetrics.operations.alertmanager import INHIBITIONS
from agentmetrics.operations.boards import boards
from agentmetrics.operations.export import check_free, write_kit
from agentmetrics.operations.kit import PARTS, Kit, KitOptions, make_kit
from agentmetrics.operations.naming import METRICS
from agentmetrics.operations.receivers import NO_RECEIVER, RECEIVERS, Receiver, receiver
from agentmetrics.operations.rules.files import rule_files, runbooks
from agentmetrics.operations.rules.objectives import Objectives
from agentmetrics.operations.rules.subjects import ALERTS
from agentmetrics.operations.yaml_text import dump

ENVIRONMENT = {
    "SLACK_WEBHOOK_URL": "https://hooks.slack.example/T0/secret-1",
    "SLACK_CHANNEL": "#alerts",
    "WEBHOOK_URL": "https://hooks.example/secret-2",
    "PAGERDUTY_ROUTING_KEY": "secret-3",
    "EMAIL_TO": "team@example.com",
    "EMAIL_FROM": "alerts@example.com",
    "SMTP_SMARTHOST": "smtp.example.com:587",
    "SMTP_USERNAME": "alerts",
    "SMTP_PASSWORD": "secret-4",
}
NEEDED = {
    "slack": ("SLACK_WEBHOOK_URL",),
    "webhook": ("WEBHOOK_URL",),
    "pagerduty": ("PAGERDUTY_ROUTING_KEY",),
    "email": ("EMAIL_TO", "EMAIL_FROM", "SMTP_SMARTHOST", "SMTP_PASSWORD"),
}


@pytest.fixture(scope="module")
def kit() -> Kit:
    return make_kit(KitOptions())


def read(kit: Kit, path: str) -> Any:
    return yaml.safe_load(kit.files[path])


def stems(kit: Kit, folder: str, ending: str) -> set[str]:
    paths = (path for path in kit.files if path.startswith(folder) and path.endswith(ending))
    return {path.removeprefix(folder).removesuffix(ending) for path in paths}


def files(directory: Path) -> dict[str, str]:
    """All files below a directory, by their path in it."""
    return {
        path.relative_to(directory).as_posix(): path.read_text("utf-8")
        for path in directory.rglob("*")
        if path.is_file()
    }


# What is in it


def test_a_kit_has_the_boards_the_rules_with_their_tests_and_the_runbooks(kit: Kit) -> None:
    for name, board in boards().items():
        assert json.loads(kit.files[f"grafana/{name}.json"]) == board
    for path, text in (rule_files(Objectives()) | runbooks()).items():
        assert kit.files[path] == text


def test_a_kit_knows_the_namespace_and_the_extra_labels_of_the_programs() -> None:
    parts = ("grafana", "prometheus", "runbooks")
    kit = make_kit(KitOptions(namespace="shop", extra_labels=("tenant",), parts=parts))
    board = boards("shop", ("tenant",))["overview"]
    assert json.loads(kit.files["grafana/overview.json"]) == board
    for path, text in (rule_files(Objectives(), "shop") | runbooks("shop")).items():
        assert kit.files[path] == text


def test_alerts_link_to_the_grafana_and_the_runbooks_of_the_options() -> None:
    urls = {"grafana_url": "https://grafana.example", "runbooks_url": "https://wiki.example/runs"}
    kit = make_kit(KitOptions(parts=("prometheus",), **urls))  # type: ignore[arg-type]
    assert (
        kit.files["prometheus/rules/tools.yml"]
        == (rule_files(Objectives(), **urls)["prometheus/rules/tools.yml"])
    )
    assert "https://grafana.example/d/agentmetrics-" in kit.files["prometheus/rules/tools.yml"]
    assert "https://wiki.example/runs/ToolFailing.md" in kit.files["prometheus/rules/tools.yml"]


def test_a_kit_without_a_receiver_has_nothing_private(kit: Kit) -> None:
    assert kit.private == frozenset()


@pytest.mark.parametrize("part", [part for part in PARTS if part != "compose"])
def test_a_part_has_its_own_files_and_no_others(part: str, kit: Kit) -> None:
    alone = make_kit(KitOptions(parts=(part,))).files
    assert {path.split("/")[0] for path in alone} == {part}
    assert alone.keys() == {path for path in kit.files if path.startswith(f"{part}/")}


def test_the_kit_in_the_package_is_the_default_one_and_current(kit: Kit) -> None:
    committed = files(Path(agentmetrics.__file__).parent / "dashboards")
    assert committed.keys() == kit.files.keys(), "run: make docs"
    stale = [path for path, text in kit.files.items() if committed[path] != text]
    assert stale == [], "run: make docs"


# Prometheus


def test_prometheus_loads_the_rules_and_tells_alertmanager(kit: Kit) -> None:
    config = read(kit, "prometheus/prometheus.yml")
    assert config["rule_files"] == ["rules/*.yml"]
    (alertmanager,) = config["alerting"]["alertmanagers"]
    assert alertmanager["static_configs"] == [{"targets": ["alertmanager:9093"]}]


def test_prometheus_scrapes_the_programs_of_a_file_that_is_there(kit: Kit) -> None:
    job = read(kit, "prometheus/prometheus.yml")["scrape_configs"][0]
    assert job["job_name"] == "agentmetrics"
    (files,) = job["file_sd_configs"]
    (name,) = files["files"]
    assert read(kit, f"prometheus/{name}") == [{"targets": []}]


def test_prometheus_scrapes_the_demo_where_there_is_one(kit: Kit) -> None:
    def jobs(kit: Kit) -> list[str]:
        config = read(kit, "prometheus/prometheus.yml")
        return [job["job_name"] for job in config["scrape_configs"]]

    assert jobs(make_kit(KitOptions(parts=("prometheus",)))) == ["agentmetrics"]
    assert jobs(kit) == ["agentmetrics", "agentmetrics-demo"]


def test_every_metric_of_the_demo_gets_the_namespace_that_boards_and_rules_have() -> None:
    config = read(make_kit(KitOptions(namespace="shop")), "prometheus/prometheus.yml")
    (relabeling,) = config["scrape_configs"][1]["metric_relabel_configs"]
    assert relabeling["replacement"] == "shop_${1}_${2}"
    prefixes = relabeling["regex"].partition(")")[0].strip("(").split("|")
    assert {name.partition("_")[0] for name in METRICS} == set(prefixes)


# Alertmanager


def test_a_kit_without_a_receiver_notifies_nobody_and_says_how_to_change_that(kit: Kit) -> None:
    config = read(kit, "alertmanager/alertmanager.yml")
    assert config["receivers"] == [{"name": "agentmetrics"}]
    assert "--receiver" in kit.files["alertmanager/alertmanager.yml"]


@pytest.mark.parametrize(("source", "targets"), INHIBITIONS.items())
def test_a_critical_alert_silences_warnings_of_the_same_labels(
    source: str, targets: tuple[str, ...]
) -> None:
    alerts = {alert.name: alert for alert in ALERTS}
    assert alerts[source].severity == "critical"
    for target in targets:
        assert alerts[target].severity == "warning"
        assert alerts[target].labels == alerts[source].labels


def test_every_receiver_is_tested_here() -> None:
    assert set(RECEIVERS) == set(NEEDED)


@pytest.mark.parametrize("name", RECEIVERS)
class TestAReceiver:
    def test_a_receiver_keeps_its_secret_out_of_what_is_committed(self, name: str) -> None:
        kit = make_kit(KitOptions(receiver=receiver(name, ENVIRONMENT), parts=["alertmanager"]))
        secret = {path for path, text in kit.files.items() if "secret-" in text}
        assert secret == kit.private
        assert len(secret) == 1
        ignored = kit.files["alertmanager/.gitignore"].splitlines()
        for path in secret:
            assert f"/{path.split('/')[1]}" in ignored

    def test_a_receiver_refers_to_files_of_the_kit(self, name: str) -> None:
        kit = make_kit(KitOptions(receiver=receiver(name, ENVIRONMENT), parts=["alertmanager"]))
        (made,) = read(kit, "alertmanager/alertmanager.yml")["receivers"]
        ((integration,),) = (value for key, value in made.items() if key != "name")
        files = {value for key, value in integration.items() if key.endswith("_file")}
        assert {f"alertmanager/{file}" for file in files} <= kit.files.keys()
        assert integration["send_resolved"] is True

    def test_a_receiver_without_its_variable_says_which_one_it_needs(self, name: str) -> None:
        for variable in NEEDED[name]:
            without = {**ENVIRONMENT, variable: " "}
            with pytest.raises(ValueError, match=f"^the receiver '{name}' needs {variable} to be"):
                receiver(name, without)


def test_a_mail_server_that_asks_for_no_password_needs_none() -> None:
    environment = {**ENVIRONMENT, "SMTP_USERNAME": ""}
    made = receiver("email", environment)
    assert (made.private, "auth_username" in dump(dict(made.integrations))) == (frozenset(), False)


@pytest.mark.parametrize("variable", ["SLACK_WEBHOOK_URL", "WEBHOOK_URL"])
def test_an_address_that_is_no_url_is_named_and_not_shown(variable: str) -> None:
    name = "slack" if variable.startswith("SLACK") else "webhook"
    with pytest.raises(ValueError, match=f"^{variable} is not a URL") as raised:
        receiver(name, {**ENVIRONMENT, variable: "hooks.example/secret-5"})
    assert "secret-5" not in str(raised.value)


def test_a_mail_server_without_a_port_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^SMTP_SMARTHOST='smtp.example.com' has no port"):
        receiver("email", {**ENVIRONMENT, "SMTP_SMARTHOST": "smtp.example.com"})


def test_an_unknown_receiver_is_refused_with_the_one_that_may_be_meant() -> None:
    with pytest.raises(ValueError, match=r"unknown receiver 'slak'.*did you mean 'slack'"):
        receiver("slak", ENVIRONMENT)


# Grafana and the containers


def test_grafana_finds_prometheus_and_the_boards(kit: Kit) -> None:
    services = read(kit, "compose.yaml")["services"]
    (source,) = read(kit, "grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert "prometheus" in services
    (provider,) = read(kit, "grafana/provisioning/dashboards/agentmetrics.yaml")["providers"]
    assert f"./grafana:{provider['options']['path']}:ro" in services["grafana"]["volumes"]


def test_containers_mount_what_is_in_the_kit_and_named_volumes(kit: Kit) -> None:
    compose = read(kit, "compose.yaml")
    for service in compose["services"].values():
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                folder = source.removeprefix("./")
                assert any(path.startswith(f"{folder}/") for path in kit.files), folder
                assert volume.endswith(":ro")
            else:
                assert source in compose["volumes"]


def test_containers_have_pinned_images_healthchecks_and_ports_of_this_machine_only(
    kit: Kit,
) -> None:
    for service in read(kit, "compose.yaml")["services"].values():
        tag = service["image"].partition(":")[2]
        assert any(digit.isdigit() for digit in tag)
        assert service["healthcheck"]["test"][0] == "CMD"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_containers_run_alertmanager_as_one_who_may_read_the_secrets(kit: Kit) -> None:
    assert read(kit, "compose.yaml")["services"]["alertmanager"]["user"] == "root"


# Kubernetes


def test_manifests_are_all_in_the_kustomization(kit: Kit) -> None:
    listed = read(kit, "kubernetes/kustomization.yaml")["resources"]
    there = stems(kit, "kubernetes/", ".yaml") - {"kustomization"}
    assert {name.removesuffix(".yaml") for name in listed} == there
    assert len(listed) == len(there)


def test_manifests_have_the_rules_as_prometheus_has_them(kit: Kit) -> None:
    names = stems(kit, "prometheus/rules/", ".yml")
    assert names
    for name in names:
        rule = read(kit, f"kubernetes/rules-{name}.yaml")
        assert (rule["apiVersion"], rule["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
        assert rule["spec"] == read(kit, f"prometheus/rules/{name}.yml")


def test_manifests_have_the_boards_as_grafana_s_sidecar_looks_for_them(kit: Kit) -> None:
    for name, board in boards().items():
        config_map = read(kit, f"kubernetes/dashboard-{name}.yaml")
        assert (config_map["apiVersion"], config_map["kind"]) == ("v1", "ConfigMap")
        assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
        ((file, text),) = config_map["data"].items()
        assert file.endswith(".json")
        assert json.loads(text) == board


def test_manifests_name_no_namespace_and_each_object_once(kit: Kit) -> None:
    made = [read(kit, f"kubernetes/{name}.yaml") for name in stems(kit, "kubernetes/", ".yaml")]
    objects = [one for one in made if one["kind"] != "Kustomization"]
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    assert len(names) == len(objects)
    assert all("namespace" not in one["metadata"] for one in objects)


def test_manifests_scrape_the_services_that_have_the_label(kit: Kit) -> None:
    monitor = read(kit, "kubernetes/servicemonitor.yaml")
    assert monitor["spec"]["selector"]["matchLabels"] == {"agentmetrics.io/scrape": "true"}
    (endpoint,) = monitor["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("metrics", "/metrics")


@given(
    st.recursive(
        st.text() | st.booleans() | st.integers() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=10,
    )
)
def test_yaml_is_read_as_it_was_meant(value: object) -> None:
    assert yaml.safe_load(dump(value)) == value


# Bad input


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"namespace": "my-shop"}, "namespace: 'my-shop' is not a valid prefix.*write 'my_shop'"),
        ({"extra_labels": ("the tenant",)}, "extra labels: 'the tenant' is not a valid label"),
        ({"extra_labels": ("model",)}, "extra labels: 'model' is already a label of llm_"),
        ({"extra_labels_for": ("cots",)}, "extra labels for: 'cots' is no group .* mean 'cost'"),
        ({"extra_labels": ("a", "a")}, "extra labels: a label is listed twice"),
        ({"parts": ("grafan",)}, "unknown part 'grafan'.*did you mean 'grafana'"),
        ({"grafana_url": "grafana.example"}, "grafana_url='grafana.example' is not a URL"),
        ({"parts": ()}, "list at least one part of the kit: grafana, "),
        (
            {"parts": ("compose", "grafana")},
            "'compose' mounts the files of others: also list prometheus, alertmanager$",
        ),
        (
            {"parts": ("grafana",), "receiver": Receiver({"x_configs": []})},
            "a receiver belongs to the part 'alertmanager'",
        ),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_sentence(
    options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        KitOptions(**options)


def test_options_without_a_receiver_go_with_any_part() -> None:
    assert KitOptions(parts=("grafana",)).receiver is NO_RECEIVER


# Writing


KIT = Kit({"a/b.yml": "new", "secret": "s"}, frozenset({"secret"}))


@pytest.mark.parametrize("where", ["new", "new/below", "empty"])
def test_a_kit_is_written_whole_and_nothing_beside_it(tmp_path: Path, where: str) -> None:
    (tmp_path / "empty").mkdir()
    directory = tmp_path / where
    check_free(directory)
    write_kit(KIT, directory)
    assert files(directory) == KIT.files
    assert files(tmp_path) == {f"{where}/{path}": text for path, text in KIT.files.items()}


def test_a_secret_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("old")
    write_kit(KIT, tmp_path)
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "a/b.yml").stat().st_mode & 0o044 == 0o044


def test_files_that_are_not_of_the_kit_stay(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.yml").write_text("old")
    (tmp_path / "a/mine.yml").write_text("mine")
    write_kit(KIT, tmp_path)
    assert files(tmp_path) == {**KIT.files, "a/mine.yml": "mine"}


def test_targets_that_the_user_has_edited_stay(tmp_path: Path) -> None:
    kit = make_kit(KitOptions(parts=("prometheus",)))
    write_kit(kit, tmp_path)
    assert files(tmp_path) == kit.files
    targets = tmp_path / "prometheus/targets.yml"
    targets.write_text("- targets: [mine:9464]\n")
    (tmp_path / "prometheus/prometheus.yml").write_text("old")
    write_kit(kit, tmp_path)
    assert files(tmp_path) == {**kit.files, "prometheus/targets.yml": "- targets: [mine:9464]\n"}


def test_a_directory_with_files_is_not_free(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(ValueError, match=r"is not empty: .* --force$"):
        check_free(tmp_path)


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_file_in_the_place_of_a_directory_stays_and_is_named(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match=r"file' is a file: name a directory"):
        write_kit(KIT, tmp_path / where)
    assert files(tmp_path) == {"file": "mine"}


def test_a_directory_in_the_place_of_a_file_stays_and_is_named(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    with pytest.raises(ValueError, match=r"secret' is a directory: the kit has a file"):
        write_kit(KIT, tmp_path)
    assert files(tmp_path) == {}


def test_a_kit_that_cannot_be_written_whole_is_not_written(tmp_path: Path) -> None:
    broken = Kit({"a": "fine", "b": "\ud800"})
    with pytest.raises(UnicodeEncodeError):
        write_kit(broken, tmp_path / "new")
    assert list(tmp_path.iterdir()) == []
