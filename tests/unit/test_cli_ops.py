"""``agentmetrics ops``: what it writes and shows, and what it says of bad input."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from agentmetrics.cli.app import app
from agentmetrics.operations.boards import boards
from agentmetrics.operations.dogstatsd_mapper import mapper_profiles
from agentmetrics.operations.kit import PARTS, KitOptions, make_kit
from agentmetrics.operations.rules.files import rule_files, runbooks
from agentmetrics.operations.rules.objectives import Objectives
from tests.unit.test_cli import on_a_terminal
from tests.unit.test_kit import files

pytestmark = pytest.mark.usefixtures("no_settings")

SLACK = {"SLACK_WEBHOOK_URL": "https://hooks.slack.example/secret"}
ALERTS = [
    rule["alert"]
    for path, text in rule_files(Objectives()).items()
    if path.startswith("prometheus/rules/")
    for group in yaml.safe_load(text)["groups"]
    for rule in group["rules"]
    if "alert" in rule
]


RUNBOOKS = {
    Path(path).stem: text for path, text in runbooks().items() if not path.endswith("README.md")
}


def run(*arguments: str, **environment: str) -> Result:
    environment = {"COLUMNS": "200", **environment}
    return CliRunner().invoke(app, ["ops", *arguments], env=environment)


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """Where the kit is to be written."""
    return tmp_path / "kit"


# export


class TestExport:
    def test_export_writes_the_kit(self, kit: Path) -> None:
        done = run("export", str(kit))
        assert (done.exit_code, done.stderr) == (0, "")
        assert files(kit) == make_kit(KitOptions()).files

    def test_export_says_what_was_written_and_what_to_type_next(self, kit: Path) -> None:
        done = run("export", str(kit))
        assert f"Written to {kit}:" in done.stdout
        rows = [line.split() for line in done.stdout.splitlines()]
        assert ["dashboards", "grafana/*.json", "6"] in rows
        for command in ("docker compose ", "promtool check config ", "amtool ", "kubectl apply "):
            assert any(line.strip().startswith(command) for line in done.stdout.splitlines())

    def test_export_cuts_no_path_on_a_narrow_terminal(self, kit: Path) -> None:
        done = run("export", str(kit), COLUMNS="40")
        assert "…" not in done.stdout

    def test_export_names_commands_of_what_was_written_alone(self, kit: Path) -> None:
        done = run("export", str(kit), "--only", "kubernetes, runbooks")
        assert {path.split("/")[0] for path in files(kit)} == {"kubernetes", "runbooks"}
        assert "kubectl" in done.stdout
        assert "docker" not in done.stdout
        assert "promtool" not in done.stdout

    def test_export_as_json_lists_the_files(self, kit: Path) -> None:
        done = run("export", str(kit), "--json")
        assert done.exit_code == 0
        told = json.loads(done.stdout)
        assert set(told["files"]) == set(files(kit))
        assert told["directory"] == str(kit)
        assert told["counts"]["dashboards"] == len(boards())
        assert sum(told["counts"].values()) == len(told["files"])

    @pytest.mark.parametrize("given", ["as options", "in the environment"])
    def test_export_is_for_the_names_that_the_programs_use(self, kit: Path, given: str) -> None:
        names = ["--namespace", "shop", "--extra-labels", "tenant, task_type"]
        if given == "as options":
            done = run("export", str(kit), *names)
        else:
            environment = {
                "AGENTMETRICS_NAMESPACE": "shop",
                "AGENTMETRICS_EXTRA_LABELS": "tenant, task_type",
            }
            done = run("export", str(kit), **environment)
        assert done.exit_code == 0
        options = KitOptions(namespace="shop", extra_labels=("tenant", "task_type"))
        assert files(kit) == make_kit(options).files

    def test_export_links_alerts_to_where_the_options_say(self, kit: Path) -> None:
        urls = ("--grafana-url", "https://g.example", "--runbooks-url", "https://w.example")
        assert run("export", str(kit), "--only", "prometheus", *urls).exit_code == 0
        rules = (kit / "prometheus/rules/tools.yml").read_text()
        assert "https://g.example/d/agentmetrics-" in rules
        assert "https://w.example/ToolFailing.md" in rules

    def test_export_with_a_receiver_names_the_file_with_its_secret(self, kit: Path) -> None:
        done = run("export", str(kit), "--receiver", "slack", "--only", "alertmanager", **SLACK)
        assert done.exit_code == 0
        assert "not to be committed: alertmanager/secrets/slack_url" in done.stdout
        assert SLACK["SLACK_WEBHOOK_URL"] not in done.stdout
        secret = kit / "alertmanager/secrets/slack_url"
        assert secret.read_text() == SLACK["SLACK_WEBHOOK_URL"]
        assert secret.stat().st_mode & 0o077 == 0

    def test_export_with_force_replaces_the_kit_and_leaves_the_rest(self, kit: Path) -> None:
        only = ("--only", "alertmanager")
        run("export", str(kit), *only)
        before = files(kit)
        (kit / "mine.txt").write_text("mine")
        (kit / "alertmanager/alertmanager.yml").write_text("old")
        assert run("export", str(kit), *only, "--force").exit_code == 0
        assert files(kit) == {**before, "mine.txt": "mine"}

    def test_export_quotes_a_directory_with_a_blank(self, tmp_path: Path) -> None:
        kit = tmp_path / "my kit"
        done = run("export", str(kit), "--only", "alertmanager")
        assert f"amtool check-config '{kit}'/alertmanager" in done.stdout


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["--namespace", "my-shop"], "namespace: 'my-shop' is not a valid prefix"),
            (["--extra-labels", "a b"], "extra labels: 'a b' is not a valid label name"),
            (["--extra-labels", "model"], "extra labels: 'model' is already a label"),
            (["--receiver", "slak"], "unknown receiver 'slak'; use slack, webhook, pagerduty"),
            (["--receiver", "slack"], "the receiver 'slack' needs SLACK_WEBHOOK_URL to be set"),
            (["--only", "grafan"], f"unknown part 'grafan'; use {', '.join(PARTS)}; did you mean"),
            (["--grafana-url", "g"], "grafana_url='g' is not a URL: write https://"),
            (["--grafana-url", "http://"], "grafana_url='http://' is not a URL: write https://"),
            (["--only", ""], "list at least one part"),
            (["--slo", "missing.toml"], "missing.toml"),
        ],
    )
    def test_bad_input_is_told_in_one_sentence_and_nothing_is_written(
        self, tmp_path: Path, arguments: list[str], sentence: str
    ) -> None:
        done = run("export", str(tmp_path / "kit"), *arguments, SLACK_WEBHOOK_URL="")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("agentmetrics: ")
        assert done.stderr.count("\n") == 1
        assert sentence in done.stderr
        assert list(tmp_path.iterdir()) == []

    def test_a_directory_with_files_is_left_as_it_is(self, tmp_path: Path) -> None:
        (tmp_path / "mine").write_text("mine")
        done = run("export", str(tmp_path))
        assert (done.exit_code, done.stdout) == (2, "")
        assert "is not empty" in done.stderr
        assert "--force" in done.stderr
        assert files(tmp_path) == {"mine": "mine"}

    @pytest.mark.parametrize("more", [[], ["--force"]])
    def test_a_path_that_is_a_file_is_left_as_it_is(self, tmp_path: Path, more: list[str]) -> None:
        (tmp_path / "mine").write_text("mine")
        done = run("export", str(tmp_path / "mine"), *more)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "is a file: name a directory" in done.stderr
        assert files(tmp_path) == {"mine": "mine"}

    def test_a_link_that_leads_nowhere_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "kit").symlink_to(tmp_path / "nowhere")
        done = run("export", str(tmp_path / "kit"))
        assert (done.exit_code, done.stdout) == (2, "")
        assert "kit' is a link to a path that does not exist" in done.stderr
        assert [path.name for path in tmp_path.iterdir()] == ["kit"]

    @pytest.mark.parametrize("command", ["export", "rules"])
    def test_built_in_objectives_that_the_buckets_do_not_fit_are_refused(
        self, kit: Path, command: str
    ) -> None:
        arguments = [str(kit)] if command == "export" else []
        done = run(command, *arguments, AGENTMETRICS_LATENCY_BUCKETS="1,20")
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == (
            "agentmetrics: the built-in objective latency.seconds=30 does not fit the buckets of "
            "llm_latency_seconds: set seconds to one of 1, 20 in a file for --slo\n"
        )
        assert not kit.exists()

    @pytest.mark.parametrize("command", ["dashboards", "runbook"])
    def test_what_has_no_objectives_is_shown_whatever_the_buckets(self, command: str) -> None:
        assert run(command, AGENTMETRICS_LATENCY_BUCKETS="1,20").exit_code == 0

    def test_a_directory_that_cannot_be_written_to_is_named(self) -> None:
        done = run("export", "/proc/kit")
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith("agentmetrics: cannot write to '/proc/kit': ")

    def test_an_objectives_file_with_a_mistake_is_named(self, tmp_path: Path) -> None:
        file = tmp_path / "slo.toml"
        file.write_text("availability = 1.5\n")
        for command in (["export", str(tmp_path / "kit")], ["rules"]):
            done = run(*command, "--slo", str(file))
            assert (done.exit_code, done.stdout) == (2, "")
            assert str(file) in done.stderr
            assert done.stderr.count("\n") == 1
        assert not (tmp_path / "kit").exists()


# dashboards, rules, runbook


def test_dashboards_are_listed() -> None:
    done = run("dashboards")
    assert done.exit_code == 0
    for name, board in boards().items():
        assert name in done.stdout.split()
        assert board["title"] in done.stdout
    listed = json.loads(run("dashboards", "--json").stdout)
    assert [each["name"] for each in listed] == list(boards())


def test_a_dashboard_is_printed_as_grafana_imports_it() -> None:
    done = run("dashboards", "cost", "--namespace", "shop", "--extra-labels", "tenant")
    assert json.loads(done.stdout) == boards("shop", ("tenant",))["cost"]


def test_rules_are_printed_as_one_file_for_prometheus() -> None:
    found = yaml.safe_load(run("rules").stdout)
    groups = [
        group
        for path, text in rule_files(Objectives()).items()
        if path.startswith("prometheus/rules/")
        for group in yaml.safe_load(text)["groups"]
    ]
    assert found == {"groups": groups}


def test_an_alert_is_printed_by_its_name_in_any_case() -> None:
    name = ALERTS[0]
    (alert, *_) = yaml.safe_load(run("rules", name.lower()).stdout)
    assert alert["alert"] == name
    assert alert["expr"]


def test_rules_have_the_namespace() -> None:
    assert "shop_llm_" in run("rules", "--namespace", "shop").stdout


def test_runbooks_are_listed() -> None:
    assert run("runbook").stdout.split() == list(RUNBOOKS)


def test_a_runbook_is_plain_text_where_there_is_no_terminal() -> None:
    assert run("runbook", ALERTS[0].upper()).stdout == RUNBOOKS[ALERTS[0]]


def test_a_runbook_is_rendered_on_a_terminal() -> None:
    title = f"# {ALERTS[0]}"
    assert title in RUNBOOKS[ALERTS[0]].splitlines()
    shown = on_a_terminal("ops", "runbook", ALERTS[0])
    assert ALERTS[0] in shown
    assert title not in shown


@pytest.mark.parametrize(
    ("command", "name", "meant"),
    [
        ("dashboards", "costs", "there is no dashboard 'costs'; did you mean cost?"),
        ("rules", f"{ALERTS[0]}x", f"did you mean {ALERTS[0]}"),
        ("runbook", f"{ALERTS[0]}x", f"did you mean {ALERTS[0]}"),
        ("dashboards", "zzz", "there is no dashboard 'zzz'; use one of overview, agent, "),
        ("runbook", "zzz", "no runbook 'zzz'; `agentmetrics ops runbook` lists the names\n"),
        ("rules", "zzz", "no alert 'zzz'; `agentmetrics ops runbook` lists the names\n"),
    ],
)
def test_an_unknown_name_is_told_with_the_close_ones(command: str, name: str, meant: str) -> None:
    done = run(command, name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert meant in done.stderr


@pytest.mark.parametrize("command", ["dashboards", "rules", "runbook"])
def test_a_namespace_that_is_no_name_is_refused_wherever_it_is_given(command: str) -> None:
    done = run(command, "--namespace", "1st")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "namespace: '1st' is not a valid prefix" in done.stderr


@pytest.mark.parametrize("command", ["export", "dashboards", "rules", "runbook"])
def test_without_the_ops_extra_the_command_says_what_to_install(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    done = run(command, *([str(tmp_path / "kit")] if command == "export" else []))
    assert done.exit_code == 1
    assert done.stderr == (
        "agentmetrics: this command needs the package 'yaml'; "
        "install it with: pip install 'llm-agentmetrics[ops]'\n"
    )


# dogstatsd-mapper


class TestDogStatsDMapper:
    def test_the_mapper_is_printed_for_the_settings_of_the_programs(self) -> None:
        done = run(
            "dogstatsd-mapper",
            AGENTMETRICS_NAMESPACE="shop",
            AGENTMETRICS_EXTRA_LABELS="tenant",
            AGENTMETRICS_COMMON_LABELS="env=prod, region=eu",
            AGENTMETRICS_STATSD_PREFIX="till",
        )
        assert (done.exit_code, done.stderr) == (0, "")
        assert yaml.safe_load(done.stdout) == mapper_profiles(
            "shop", "till", ["tenant"], ["env", "region"]
        )
        same = run(
            *("dogstatsd-mapper", "--namespace", "shop", "--extra-labels", "tenant"),
            *("--common-labels", "env,region", "--prefix", "till"),
        )
        assert same.stdout == done.stdout

    @pytest.mark.parametrize(
        ("option", "sentence"),
        [
            ("--namespace=0", "namespace: '0' is not a valid prefix"),
            ("--extra-labels=model", "extra labels: 'model' is already a label of llm_calls_total"),
            (
                "--common-labels=model",
                "common labels: 'model' is already a label of llm_",
            ),
        ],
    )
    def test_the_mapper_refuses_what_the_programs_would(self, option: str, sentence: str) -> None:
        done = run("dogstatsd-mapper", option)
        assert (done.exit_code, done.stdout) == (2, "")
        assert sentence in done.stderr
