"""The commands as real processes: the demo's numbers, its live traffic, and a served directory."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from genai_prices import calc_price
from genai_prices.types import Usage as PricedUsage
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner

from agentmetrics.budget.ledger.summary import Group
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.cli.app import app
from agentmetrics.cli.demo.table import cost_differences, differences
from agentmetrics.cli.demo.wire import Tally
from agentmetrics.summary.rows import AgentNumbers
from tests.unit.test_cli import on_a_terminal

COMMAND = [sys.executable, "-m", "agentmetrics.cli"]
COUNTED = list(Tally.__dataclass_fields__)
HOSTILE = {
    "OPENAI_API_KEY": "sk-real",
    "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    "OPENAI_API_BASE": "http://127.0.0.1:9/v1",
    "OPENAI_ORG_ID": "org-real",
    "OPENAI_PROXY": "http://127.0.0.1:9",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "http_proxy": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "LANGSMITH_TRACING": "true",
    "LANGCHAIN_TRACING_V2": "true",
    "LANGSMITH_API_KEY": "ls-real",
    "LANGSMITH_ENDPOINT": "http://127.0.0.1:9",
    "AGENTMETRICS_BACKEND": "no-such-backend",
    "PROMETHEUS_MULTIPROC_DIR": "/no/such/directory",
}


def environment(**variables: str) -> dict[str, str]:
    plain = {k: v for k, v in os.environ.items() if k not in HOSTILE and k != "COLUMNS"}
    return {**plain, "PYTHONUNBUFFERED": "1", **variables}


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def done() -> subprocess.CompletedProcess[str]:
    """``demo --json`` in an environment that would lead every call astray."""
    return run("demo", "--json", **HOSTILE)


@pytest.fixture(scope="module")
def found(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)  # and nothing else is on standard output
    return loaded


def test_every_number_is_what_the_model_server_counted(found: dict[str, Any]) -> None:
    recorded = {row["agent"]: {name: row[name] for name in COUNTED} for row in found["agents"]}
    assert recorded == found["server"]
    assert set(recorded) == {"planner", "researcher", "writer"}
    assert found["differences"] == []


def test_the_total_is_the_sum_over_the_agents(found: dict[str, Any]) -> None:
    for name in (*COUNTED, "runs", "cache_hits", "tool_executions", "active"):
        assert found["total"][name] == sum(row[name] for row in found["agents"])
    cost = sum(row["cost_usd"] for row in found["agents"])
    assert found["total"]["cost_usd"] == pytest.approx(cost, abs=1e-12)


def test_each_agent_did_what_its_part_is(found: dict[str, Any]) -> None:
    names = ("runs", "calls", "errors", "cancelled", "cache_hits", "tool_executions", "active")
    assert {row["agent"]: tuple(row[name] for name in names) for row in found["agents"]} == {
        "planner": (5, 5, 1, 0, 1, 0, 0),  # one refused and retried, one from the cache
        "researcher": (5, 15, 0, 0, 0, 15, 0),
        "writer": (5, 4, 0, 1, 0, 0, 0),  # the fifth call was not let through
    }


def test_the_cost_is_that_of_the_served_model(found: dict[str, Any]) -> None:
    models = {"planner": "o4-mini", "researcher": "gpt-4o-mini", "writer": "gpt-4o"}
    for row in found["agents"]:
        counted = found["server"][row["agent"]]
        usage = PricedUsage(
            input_tokens=counted["input_tokens"],
            output_tokens=counted["output_tokens"],
            cache_read_tokens=counted["cached_tokens"],
        )
        price = calc_price(usage, models[row["agent"]], provider_id="openai").total_price
        assert price > 0
        assert Decimal(row["cost_usd"]) == pytest.approx(price, abs=Decimal("1e-8"))


def test_the_ledger_has_the_same_cost(found: dict[str, Any]) -> None:
    kept = {g["labels"]["agent_name"]: g["cost_nano_usd"] for g in found["spend"]["groups"]}
    assert kept == {row["agent"]: round(row["cost_usd"] * 1e9) for row in found["agents"]}
    assert found["spend"]["total"]["cost_nano_usd"] == sum(kept.values()) > 0


def test_times_are_those_of_the_model_server(found: dict[str, Any]) -> None:
    by_agent = {row["agent"]: row for row in found["agents"]}
    # The server thinks for 60 ms before the writer's first word, and takes 8 ms a word.
    assert 0.05 < by_agent["writer"]["first_token_p50"] < by_agent["writer"]["latency_p50"]
    assert by_agent["planner"]["first_token_p50"] is None
    for row in found["agents"]:
        assert 0.01 < row["latency_p50"] <= row["latency_p95"] < 5


def test_the_details_are_there_to_be_counted(found: dict[str, Any]) -> None:
    assert found["server"]["researcher"]["cached_tokens"] > 0
    assert found["server"]["planner"]["reasoning_tokens"] > 0


def test_progress_is_plain_lines_where_there_is_no_terminal(
    done: subprocess.CompletedProcess[str],
) -> None:
    lines = done.stderr.splitlines()
    assert [line[:6] for line in lines] == [f"{n} of 5" for n in range(1, 6)]
    assert "\x1b" not in done.stderr


def test_the_demo_for_people_shows_every_number_on_80_columns() -> None:
    started = time.monotonic()
    done = run("demo")
    assert time.monotonic() - started < 20
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["researcher", "5", "15", "0", "0", "0", "15", "0"] in lines
    assert ["total", "15", "24", "1", "1", "1", "15", "0"] in lines
    assert "Not sent: the daily budget 'briefs' for agent_name=writer is spent" in done.stdout
    assert ["planner", "5", "93", "468", "0.002162"] in [line[:5] for line in lines]
    assert "24 calls (1 failed, 1 cancelled)" in done.stdout
    assert "in total. The ledger agrees to the nano-dollar." in done.stdout
    assert "agentmetrics demo --serve" in done.stdout
    assert max(map(len, done.stdout.split("The model server")[0].splitlines())) <= 80


def test_the_demo_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in HOSTILE.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    done = CliRunner().invoke(app, ["demo", "--json"])
    assert done.exit_code == 0, done.stderr
    assert dict(os.environ) == before


def test_progress_moves_on_a_terminal_and_is_gone_at_the_end() -> None:
    said = on_a_terminal("demo")
    assert re.search(r"[1-9]\d* calls, [1-9]\d* active, [\d,]+ tokens", said)
    after = said.rpartition("\x1b[2K")[2]  # the last line that was wiped
    assert "active, " not in after
    assert "Calls by agent" in after


def row_of(agent: str, tally: Tally, active: int = 0) -> AgentNumbers:
    counted = {name: getattr(tally, name) for name in COUNTED}
    return AgentNumbers(agent, runs=1, active=active, **counted)


TALLY = Tally(calls=3, errors=1, cancelled=1, input_tokens=50, output_tokens=5)


def test_what_is_equal_makes_no_difference() -> None:
    assert differences([row_of("a", TALLY)], {"a": TALLY}) == []


@pytest.mark.parametrize("name", COUNTED)
def test_every_count_that_differs_is_named(name: str) -> None:
    other = replace(TALLY, **{name: getattr(TALLY, name) + 1})
    (said,) = differences([row_of("a", TALLY)], {"a": other})
    assert said.startswith(f"a {name.replace('_', ' ')}: ")


def test_calls_of_another_agent_and_calls_still_active_are_differences() -> None:
    said = differences([row_of("a", TALLY, active=2)], {"b": TALLY})
    assert "a calls: 3 recorded, 0 counted by the server" in said
    assert "b calls: 0 recorded, 3 counted by the server" in said
    assert "a: 2 calls still active" in said


def spent(agent: str, nano_usd: int) -> Group:
    return Group({"agent_name": agent}, Amounts(calls=1, cost_nano_usd=nano_usd), Amounts(), None)


def test_a_cost_that_the_ledger_has_otherwise_is_a_difference() -> None:
    rows = [replace(row_of("a", TALLY), cost_usd=2e-9)]
    assert cost_differences(rows, [spent("a", 2)]) == []
    assert cost_differences(rows, [spent("a", 3)]) == [
        "a cost: 2 nano-dollars recorded, 3 in the ledger"
    ]
    assert cost_differences(rows, [spent("a", 2), spent("b", 1)]) == [
        "b cost: 0 nano-dollars recorded, 1 in the ledger"
    ]


def test_the_demo_ends_with_1_when_the_server_counted_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Tally, "bill", lambda self, usage: None)
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 1
    assert "equal" not in done.stdout
    assert "agentmetrics: writer input tokens: " in done.stderr
    assert done.stderr.endswith("the table does not match what the model server counted\n")


@contextmanager
def started(*arguments: str, log: Path, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*COMMAND, *arguments], env=environment(**variables), stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def announced(log: Path, process: subprocess.Popen[bytes]) -> str:
    """The address that the command says it serves at."""
    for _ in range(3000):
        words = log.read_text().split()
        urls = [word for word in words if word.startswith("http://")]
        if urls:
            return urls[0]
        assert process.poll() is None, log.read_text()
        time.sleep(0.02)
    raise AssertionError(log.read_text())


def scraped(url: str) -> dict[tuple[str, str], float]:
    """Samples added up by name and agent."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    found: dict[tuple[str, str], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, sample.labels.get("agent_name", "")
            found[key] = found.get(key, 0.0) + sample.value
    return found


def wait_for_calls(url: str, more_than: float) -> Mapping[tuple[str, str], float]:
    for _ in range(600):
        found = scraped(url)
        if found.get(("llm_calls_total", "planner"), 0.0) > more_than:
            return found
        time.sleep(0.05)
    raise AssertionError(f"no more than {more_than} calls of the planner at {url}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_live_traffic_is_served_until_a_signal(number: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started("demo", "--serve", "--port", "0", log=log, **HOSTILE) as process:
        url = announced(log, process)
        assert url.startswith("http://127.0.0.1:")
        before = wait_for_calls(url, 1)  # the first is refused
        after = wait_for_calls(url, before["llm_calls_total", "planner"])
        assert after["llm_cost_usd_total", "planner"] > before["llm_cost_usd_total", "planner"] > 0
        process.send_signal(number)
        assert process.wait(90) == 0
    said = log.read_text()
    assert "Traceback" not in said
    assert "in total. The ledger agrees to the nano-dollar." in said
    config = yaml.safe_load(said[said.index("scrape_configs:") : said.index("live traffic")])
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [url.split("/")[2]]}]


def test_ctrl_c_during_the_demo_leaves_no_traceback(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with started("demo", log=log) as process:
        while "1 of 5" not in log.read_text():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(90) == 130
    assert "Traceback" not in log.read_text()


WRITER = """\
import sys
from agentmetrics import PrometheusRecorder, track_call
recorder = PrometheusRecorder()
for _ in range(int(sys.argv[1])):
    with track_call("openai", "gpt-4o", agent_name="writer", recorder=recorder) as call:
        call.record_usage(input_tokens=7, output_tokens=1)
"""


def test_serve_adds_up_what_other_processes_wrote(tmp_path: Path) -> None:
    directory, log = tmp_path / "metrics", tmp_path / "log"
    directory.mkdir()
    with started("serve", str(directory), "--port", "0", log=log) as process:
        url = announced(log, process)
        assert ("llm_calls_total", "writer") not in scraped(url)
        for calls in ("3", "4"):
            variables = environment(PROMETHEUS_MULTIPROC_DIR=str(directory))
            subprocess.run([sys.executable, "-c", WRITER, calls], env=variables, check=True)
        found = scraped(url)
        assert found["llm_calls_total", "writer"] == 7
        assert found["llm_tokens_total", "writer"] == 56
        page = url.replace("/metrics", "/agentmetrics")
        with urllib.request.urlopen(f"{page}/state", timeout=10) as response:
            assert json.load(response)["state"]["all"]["calls_total"] == 7
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    said = f"Serving {directory} at {url} until Ctrl-C\nLive page: {page}\n"
    assert log.read_text() == said
