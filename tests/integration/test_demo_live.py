"""The demo's live traffic: every metric there is, and Prometheus and Alertmanager beside it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from agentmetrics.catalog import APPLICATION, CATALOG
from agentmetrics.cli.demo.stack import Programs, stack_of, write_files
from tests.integration.test_demo import announced, run, started

NOT_SHOWN = {
    "agentmetrics_handler_errors_total": "nothing in the demo is misunderstood",
    "agentmetrics_series_dropped_total": "the demo has few series",
    "agentmetrics_packets_dropped_total": "the demo sends nothing to StatsD",
    "agentmetrics_multiprocess_files_skipped_total": "the demo is one process",
    "agentmetrics_multiprocess_files_remade_total": "the demo is one process",
    "agentmetrics_multiprocess_series_unwritten_total": "the demo is one process",
    "agentmetrics_ledger_calls_lost_total": "the demo's ledger is always reachable",
    "llm_cost_difference_usd_total": "no provider of the demo says what a call has cost",
}
SECONDS = 120.0
"""The most in which everything is seen once; half a minute where the machine is not busy."""


@dataclass
class Live:
    """The demo with live traffic, as a process."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def samples(self) -> list[Sample]:
        text = httpx.get(self.url, timeout=10).text
        return [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def values(self, metric: str, label: str, **labels: str) -> set[str]:
        """The values that a label has where the metric is above 0."""
        return {
            sample.labels[label]
            for sample in self.samples()
            if sample.name == metric
            and sample.value > 0
            and labels.items() <= sample.labels.items()
        }


def eventually(holds: Callable[[], Any], seconds: float = SECONDS) -> Any:
    """What is returned once it is true; the last that was returned when it never is."""
    deadline = time.monotonic() + seconds
    while not (found := holds()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def running_demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Live]]:
    """Gives the demo that runs, and starts another one where it was ended."""
    demos: list[Live] = []
    with ExitStack() as started_here:

        def running() -> Live:
            if not demos or demos[-1].process.poll() is not None:
                log = tmp_path_factory.mktemp("live") / "log"
                process = started_here.enter_context(
                    started("demo", "--serve", "--port", "0", log=log)
                )
                demos.append(Live(announced(log, process), process, log))
            return demos[-1]

        yield running


@pytest.fixture
def live(running_demo: Callable[[], Live]) -> Live:
    """The demo of all tests here, one of which ends it; workers take them in any order."""
    return running_demo()


def unseen(samples: list[Sample]) -> set[str]:
    """The metrics that have no series, or none above 0 where they count or observe."""
    there = {sample.name for sample in samples}
    counted = {sample.name for sample in samples if sample.value > 0}
    of_kind = {
        "gauge": lambda name: name in there,
        "counter": lambda name: name in counted,
        "histogram": lambda name: f"{name}_count" in counted,
    }
    return {
        metric.name
        for metric in (*CATALOG, *APPLICATION)
        if metric.name not in NOT_SHOWN and not of_kind[metric.kind](metric.name)
    }


def test_every_metric_of_the_catalogue_is_seen(live: Live) -> None:
    eventually(lambda: not unseen(live.samples()))
    assert unseen(live.samples()) == set()


def test_what_is_exempt_is_still_not_seen(live: Live) -> None:
    there = {sample.name for sample in live.samples() if sample.value > 0}
    assert there.isdisjoint(NOT_SHOWN)


SEEN: dict[tuple[str, str], set[str]] = {
    ("llm_errors_total", "error_type"): {
        *("rate_limit", "timeout", "server_error", "authentication"),
        *("context_length", "content_filter", "invalid_request"),
    },
    ("llm_errors_total", "provider"): {"openai", "azure", "deepseek"},
    ("llm_calls_total", "status"): {"success", "error", "cancelled"},
    ("agent_runs_total", "status"): {"success", "error", "cancelled", "interrupted"},
    ("llm_token_details_total", "token_detail"): {
        *("cache_read", "reasoning", "audio_input", "audio_output"),
    },
    ("llm_finish_reasons_total", "finish_reason"): {
        *("stop", "length", "tool_calls", "content_filter"),
    },
    ("llm_served_calls_total", "served_model"): {"gpt-4o-mini-2024-07-18", "house-model"},
    ("llm_served_calls_total", "model"): {"gpt-4o-mini", "house-model"},
    ("llm_unpriced_calls_total", "model"): {"house-model"},
    ("llm_unmetered_calls_total", "agent_name"): {"guide"},
    ("tool_executions_total", "status"): {"success", "error"},
    ("retriever_queries_total", "status"): {"success", "error"},
    ("model_selections_total", "tier"): {"small", "large", "local"},
    ("model_fallbacks_total", "reason"): {"server_error"},
    ("model_cost_savings_usd_total", "intent"): {"letter", "prompt_cache"},
    ("cache_hits_total", "cache_type"): {"answers", "pages"},
    ("cache_evictions_total", "cache_type"): {"answers", "pages"},
    ("budget_limit_usd", "period"): {"daily", "weekly", "monthly"},
    ("budget_blocked_calls_total", "budget"): {"reviews"},
}


@pytest.mark.parametrize(("metric", "label"), SEEN)
def test_every_kind_of_traffic_is_seen(live: Live, metric: str, label: str) -> None:
    expected = SEEN[metric, label]
    eventually(lambda: expected <= live.values(metric, label))
    assert expected <= live.values(metric, label)


def budget_shares(live: Live) -> dict[str, float]:
    found: dict[str, dict[str, float]] = {}
    for sample in live.samples():
        if sample.name in ("budget_spend_usd", "budget_limit_usd"):
            found.setdefault(sample.labels["budget"], {})[sample.name] = sample.value
    return {
        name: amounts["budget_spend_usd"] / amounts["budget_limit_usd"]
        for name, amounts in found.items()
    }


def test_one_budget_is_fine_one_is_nearly_spent_and_one_blocks(live: Live) -> None:
    def are_spent() -> bool:
        shares = budget_shares(live)
        return shares["digests"] >= 0.85 and shares["reviews"] >= 1

    eventually(are_spent)
    shares = budget_shares(live)
    assert shares["plans"] < 0.1
    assert 0.85 <= shares["digests"] < 1
    assert 1 <= shares["reviews"] < 2


def test_a_run_takes_long_now_and_then(live: Live) -> None:
    def oldest() -> float:
        name, agent = "agent_oldest_active_run_seconds", {"agent_name": "archivist"}
        return max(s.value for s in live.samples() if (s.name, s.labels) == (name, agent))

    assert eventually(lambda: oldest() > 15)


def test_a_stream_that_pauses_shows_in_the_gap_between_its_chunks(live: Live) -> None:
    def longest_is_above_a_second() -> bool:
        labels = {"agent_name": "guide", "provider": "openai", "model": "gpt-4o"}
        gaps = {
            sample.labels.get("le", ""): sample.value
            for sample in live.samples()
            if sample.name == "llm_time_between_chunks_seconds_bucket"
            and labels.items() <= sample.labels.items()
        }
        return bool(gaps) and gaps["+Inf"] > gaps["1.0"]

    assert eventually(longest_is_above_a_second)


def test_a_stream_that_falls_silent_ends_as_a_timeout(live: Live) -> None:
    timeouts = lambda: live.values("llm_errors_total", "agent_name", error_type="timeout")  # noqa: E731
    assert eventually(lambda: "guide" in timeouts())


def test_the_traffic_is_gentle(live: Live) -> None:
    process, seconds = psutil.Process(live.process.pid), 10.0
    before = sum(process.cpu_times()[:2])
    time.sleep(seconds)
    assert (sum(process.cpu_times()[:2]) - before) / seconds < 0.3  # of one core


def test_ctrl_c_ends_it_soon_and_the_account_is_exact(live: Live) -> None:
    def refused() -> float:
        name, budget = "budget_blocked_calls_total", "reviews"
        return sum(
            sample.value
            for sample in live.samples()
            if sample.name == name and sample.labels["budget"] == budget
        )

    assert eventually(lambda: refused() > 1)
    live.process.send_signal(signal.SIGINT)
    asked = time.monotonic()
    assert live.process.wait(90) == 0, live.log.read_text()
    assert time.monotonic() - asked < 60  # 3 where the machine is not busy
    said = live.log.read_text()
    assert "Traceback" not in said
    assert "in total. The ledger agrees to the nano-dollar." in said
    assert "Previous day: " in said  # of which the ledger knows
    assert "Previous day: no calls" not in said
    assert "times: the daily budget 'reviews' for agent_name=reviewer is spent" in said


# With Prometheus and Alertmanager


@dataclass
class Stack:
    """The demo with its companions: their addresses, and the processes."""

    process: subprocess.Popen[bytes]
    log: Path
    directory: Path
    prometheus: str
    alertmanager: str

    def children(self) -> dict[str, psutil.Process]:
        return {child.name(): child for child in psutil.Process(self.process.pid).children()}


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    log, directory = tmp_path / "log", tmp_path / "temporary"
    directory.mkdir()
    arguments = ("demo", "--stack", "--port", "0")
    with started(*arguments, log=log, TMPDIR=str(directory)) as process:
        announced(log, process)
        at = dict(re.findall(r"^  (\w+) +(http://\S+)$", log.read_text(), re.MULTILINE))
        made = Stack(process, log, directory, at["Prometheus"], at["Alertmanager"])
        children = made.children().values()
        yield made
        for child in children:  # what a failed test leaves
            if child.is_running():
                child.kill()


def answer(url: str, **parameters: str) -> Any:
    return httpx.get(url, params=parameters, timeout=10).json()["data"]


def test_prometheus_scrapes_the_demo_and_sends_alerts_to_alertmanager(stack: Stack) -> None:
    assert set(stack.children()) == {"prometheus", "prometheus-alertmanager"}
    for url in (stack.prometheus, stack.alertmanager):
        assert httpx.get(f"{url}/-/ready", timeout=10).status_code == 200

    def value_of(query: str) -> Any:
        return answer(f"{stack.prometheus}/api/v1/query", query=query)["result"]

    assert eventually(lambda: value_of('up{job="agentmetrics-demo"} == 1'))
    assert eventually(lambda: value_of("sum(llm_calls_total) > 5"))
    (known,) = answer(f"{stack.prometheus}/api/v1/alertmanagers")["activeAlertmanagers"]
    assert known["url"] == f"{stack.alertmanager}/api/v2/alerts"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_no_file(stack: Stack, number: signal.Signals) -> None:
    children = stack.children().values()
    stack.process.send_signal(number)
    assert stack.process.wait(90) == 0, stack.log.read_text()
    assert not any(child.is_running() for child in children)
    assert list(stack.directory.iterdir()) == []
    assert "Traceback" not in stack.log.read_text()


def test_a_program_that_ends_by_itself_ends_the_demo(stack: Stack) -> None:
    children = stack.children()
    children["prometheus"].terminate()
    assert stack.process.wait(90) == 1
    assert not any(child.is_running() for child in children.values())
    assert list(stack.directory.iterdir()) == []
    said = stack.log.read_text()
    assert "agentmetrics: Prometheus ended with exit status 0; the end of its output:\n" in said
    assert "Received SIGTERM" in said
    assert "Traceback" not in said


def program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_a_program_that_does_not_start_is_reported_with_what_it_said(tmp_path: Path) -> None:
    program(tmp_path, "prometheus", "echo no such flag >&2; exit 3")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = run("demo", "--stack", "--port", "0", PATH=path)
    assert done.returncode == 1
    ended = "agentmetrics: Prometheus ended with exit status 3; the end of its output:"
    assert done.stderr.endswith(f"{ended}\n  no such flag\n")
    assert done.stdout == ""


def test_ctrl_c_while_they_start_ends_the_demo(tmp_path: Path) -> None:
    program(tmp_path, "prometheus", "exec sleep 600")
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    log = tmp_path / "log"
    with started("demo", "--stack", "--port", "0", log=log, PATH=path) as process:
        demo = psutil.Process(process.pid)
        assert eventually(lambda: {child.name() for child in demo.children()} >= {"sleep"})
        children = demo.children()
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 0, log.read_text()
    assert not any(child.is_running() for child in children)
    assert "Running until Ctrl-C" not in log.read_text()
    assert "Traceback" not in log.read_text()


@pytest.mark.parametrize(
    ("installed", "missing"),
    [
        ((), "prometheus and prometheus-alertmanager"),
        (("prometheus",), "prometheus-alertmanager"),
        (("prometheus-alertmanager",), "prometheus"),
    ],
)
def test_a_program_that_is_not_installed_is_one_sentence(
    installed: tuple[str, ...], missing: str, tmp_path: Path
) -> None:
    for name in installed:
        program(tmp_path, name, "exit 0")
    done = run("demo", "--stack", PATH=str(tmp_path))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f"agentmetrics: --stack cannot find {missing} on the PATH; on Debian and Ubuntu, install "
        f"with: apt-get install {missing.replace(' and', '')}\n"
    )


RULES = """\
groups:
  - name: demo
    rules:
      - alert: Anything
        expr: llm_calls_total > 0
"""


def test_prometheus_takes_the_rules_of_the_kit(tmp_path: Path) -> None:
    write_files(tmp_path, {"prometheus/rules/alerts.yml": RULES})
    prometheus, _ = stack_of(Programs("prometheus", "alertmanager"), tmp_path, "127.0.0.1:9464")
    (config,) = [word for word in prometheus.command if word.startswith("--config.file=")]
    command = ["promtool", "check", "config", config.partition("=")[2]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "SUCCESS: 1 rule files found" in done.stdout
    assert "SUCCESS: 1 rules found" in done.stdout
