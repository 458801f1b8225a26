"""The migration page: its snippets run, before and after, and each of its claims holds."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import time
import urllib.error
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client import CollectorRegistry

import agentmetrics
from agentmetrics import (
    MemoryRecorder,
    configure,
    get_ledger,
    track_call,
)
from agentmetrics.catalog import PLATFORM
from tests.integration.apps import homemade
from tests.integration.pages import (
    ROOT,
    blocks,
    command,
    fences,
    page,
    recorded,
    reference,
    rows,
    section,
    series,
)
from tests.services.process import free_port
from tests.services.prometheus import PrometheusServer
from tests.services.wire import Answer, Wire

PAGE = page("migration.md")
METRICS = reference()
CALL = {"agent_name", "provider", "model"}
MODEL = "gpt-4o-mini"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unexpected type for token usage:UserWarning"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]


@pytest.fixture
def _asking_the_wire(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{wire.url}/v1")


@pytest.fixture
def _configured(
    _asking_the_wire: None,
    agent_metrics: MemoryRecorder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reader's environment: a ledger, the label of the page, and a module of their own."""
    monkeypatch.setenv("AGENTMETRICS_LEDGER_URL", f"sqlite:///{tmp_path}/spend.db")
    monkeypatch.setenv("AGENTMETRICS_EXTRA_LABELS", "task_type")
    monkeypatch.setitem(sys.modules, "monitoring", homemade.make_module(CollectorRegistry()))
    configure()


@contextmanager
def sdk_client() -> Iterator[openai.OpenAI]:
    with openai.OpenAI(max_retries=0) as client:
        yield client


def run(snippet: str) -> dict[str, Any]:
    """Run a snippet with what the page says that the reader has; what it defines."""
    with sdk_client() as client:
        program: dict[str, Any] = {
            "__name__": "snippet",
            "client": client,
            "messages": [{"role": "user", "content": "hello"}],
        }
        exec(compile(snippet, "migration.md", "exec"), program)
    return program


# The snippets


def test_every_snippet_of_code_is_run_by_a_test() -> None:
    found = fences(PAGE)
    kinds = {"python before", "python after", "promql before", "promql after", "promql compare"}
    assert set(found) == kinds | {"console"}
    assert found.count("promql before") == found.count("promql after")
    tested = [section(PAGE, t) for t in ("Calls", "Cost and budgets", "Caches and routing")]
    of_tested = [len(blocks("".join(tested), f"python {when}")) for when in ("before", "after")]
    assert of_tested == [found.count("python before"), found.count("python after") - 1]
    assert len(blocks(section(PAGE, "Side by side"), "python after")) == 1


@pytest.mark.usefixtures("_configured")
@pytest.mark.parametrize("title", ["Calls", "Cost and budgets", "Caches and routing"])
def test_what_is_before_runs_without_us(title: str) -> None:
    snippets = blocks(section(PAGE, title), "python before")
    assert snippets
    for snippet in snippets:
        assert "agentmetrics" not in snippet
        run(snippet)


@pytest.mark.usefixtures("_configured")
def test_calls_after(wire: Wire) -> None:
    wire.script(MODEL, Answer(fresh=1000, output=100), Answer(fresh=2000, output=200))
    block, chain = blocks(section(PAGE, "Calls"), "python after")
    run(block)
    labels = ("agent_name", "provider", "model", "status", "task_type")
    assert series(recorded(), "llm_calls_total", *labels) == {
        ("planner", "openai", MODEL, "success", ""): 1
    }
    assert recorded().value("llm_tokens_total", agent_name="planner") == 1100
    assert recorded().value("llm_cost_usd_total") == pytest.approx(1000 * 0.15e-6 + 100 * 0.60e-6)
    run(chain)
    assert recorded().value("llm_calls_total", task_type="summary", provider="openai") == 1
    assert recorded().value("llm_tokens_total", task_type="summary") == 2200


@pytest.mark.usefixtures("_configured")
def test_cost_and_budgets_after(capsys: pytest.CaptureFixture[str]) -> None:
    with track_call("openai", "gpt-4o") as call:
        call.record_usage(input_tokens=1_000_000, output_tokens=100_000)
    get_ledger().flush()
    (snippet,) = blocks(section(PAGE, "Cost and budgets"), "python after")
    names = run(snippet)
    assert capsys.readouterr().out.splitlines() == ["3.500000000", "gpt-4o 1 3.500000000", "46.5"]
    assert recorded().value("budget_remaining_usd", budget="day", period="daily") == 46.5
    with track_call("openai", "gpt-4o") as call:
        call.record_usage(input_tokens=15_000_000, output_tokens=0)
    assert names["budget"].status().percent == 82.0


@pytest.mark.usefixtures("_configured")
def test_a_threshold_of_80_per_cent_calls_the_function_of_the_page(
    capfd: pytest.CaptureFixture[str],
) -> None:
    (snippet,) = blocks(section(PAGE, "Cost and budgets"), "python after")
    run(snippet)
    with track_call("openai", "gpt-4o") as call:
        call.record_usage(input_tokens=17_000_000, output_tokens=0)
    said = ""
    for _ in range(100):
        said += capfd.readouterr().out
        if "is spent" in said:
            break
        time.sleep(0.05)  # the function runs in a thread of its own
    assert "80% of 50 USD is spent, until " in said


@pytest.mark.usefixtures("_configured")
def test_caches_and_routing_after() -> None:
    cache, selection = blocks(section(PAGE, "Caches and routing"), "python after")
    alive = run(cache)
    values = {
        name: series(recorded(), name, "cache_type")
        for name in ("cache_hits_total", "cache_misses_total", "cache_entries", "cache_hit_ratio")
    }
    assert values == {
        "cache_hits_total": {("prompt",): 1},
        "cache_misses_total": {("prompt",): 1},
        "cache_entries": {("prompt",): 1},
        "cache_hit_ratio": {("prompt",): 0.5},
    }
    alive.clear()
    run(selection)
    assert series(recorded(), "model_selections_total", "intent", "model", "tier") == {
        ("summary", MODEL, "small"): 1
    }
    assert series(recorded(), "model_cost_savings_usd_total", "intent") == {("summary",): 0.0021}


@pytest.mark.usefixtures("_configured")
def test_every_console_snippet_is_a_command_that_works() -> None:
    with track_call("openai", MODEL, agent_name="planner") as call:
        call.record_usage(input_tokens=1000, output_tokens=100)
    get_ledger().flush()
    ran = 0
    for block in blocks(PAGE, "console"):
        env = dict(os.environ)
        for line in block.splitlines():
            assert line.startswith("$ ")
            if line.startswith("$ export "):
                name, value = line.removeprefix("$ export ").split("=")
                env[name] = value
            else:
                assert command(line.removeprefix("$ "), env)
                ran += 1
    assert ran == 3
    in_the_text = f"agentmetrics prices show {MODEL}"
    assert "genai-prices" in command(in_the_text, os.environ)
    assert f"`agentmetrics prices show {MODEL}`" in PAGE


# Side by side, and PromQL


@contextmanager
def service(
    wire: Wire, directory: Path, snippets: list[str], **env: str
) -> Iterator[tuple[str, Callable[[int], None]]]:
    """A process that runs snippets: where it serves its metrics, and how it is told to."""
    port = free_port()
    files = []
    for number, snippet in enumerate(snippets):
        files.append(directory / f"snippet_{port}_{number}.py")
        files[-1].write_text(snippet)
    module = "tests.integration.apps.migrating"
    program = [sys.executable, "-m", module, str(port), *map(str, files)]
    asking = {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"{wire.url}/v1"}
    environment = {**os.environ, **asking, "AGENTMETRICS_BACKEND": "prometheus", **env}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        program, cwd=ROOT, env=environment, stdin=pipe, stdout=pipe, text=True, bufsize=1
    ) as process:
        assert process.stdin
        assert process.stdout
        said = process.stdout.readline()
        assert said == "serving\n"

        def tell(times: int) -> None:
            assert process.stdin
            assert process.stdout
            process.stdin.write(f"{times}\n")
            assert process.stdout.readline() == "done\n"

        yield f"127.0.0.1:{port}", tell
        process.stdin.close()
        assert process.wait(timeout=30) == 0


def test_side_by_side_the_two_agree_by_the_queries_of_the_page(
    own_wire: Wire, tmp_path: Path, prometheus: Callable[..., PrometheusServer]
) -> None:
    snippets = blocks(section(PAGE, "Side by side"), "python after")
    (exports,) = blocks(section(PAGE, "Side by side"), "console")
    env = dict(re.findall(r"export (\w+)=(\w+)", exports))
    assert env == {"AGENTMETRICS_BACKEND": "prometheus", "AGENTMETRICS_NAMESPACE": "next"}
    with service(own_wire, tmp_path, snippets, **env) as (address, make_calls):
        make_calls(2)
        server = prometheus(address)
        server.scraped()
        make_calls(3)
        server.scraped()
        comparisons = blocks(PAGE, "promql compare")
        assert len(comparisons) == 3
        for query in comparisons:
            both = set(re.findall(r"\b(?:next_)?llm_\w+", query))
            assert len(both) == 2
            for name in both:
                assert server.value(f"sum(increase({name}[1d]))") > 0
            (difference,) = server.values(query, "agent_name").values()
            assert difference == pytest.approx(0, abs=1e-12), query
        # what the page says of theirs: successes alone, and a type of tokens that is counted twice
        assert server.value("sum(llm_calls_total)") == 5
        assert server.values("sum by (status) (next_llm_calls_total) > 0", "status") == {
            ("success",): 5,
            ("error",): 5,
        }
        theirs, ours = (
            server.value(f"sum({name})") for name in ("llm_tokens_total", "next_llm_tokens_total")
        )
        assert theirs == 2 * ours


def test_every_query_after_has_an_answer_and_every_one_before_can_be_parsed(
    own_wire: Wire, tmp_path: Path, prometheus: Callable[..., PrometheusServer]
) -> None:
    snippets = blocks(section(PAGE, "Calls"), "python after")[:1]
    with service(own_wire, tmp_path, snippets) as (address, make_calls):
        make_calls(2)
        server = prometheus(address)
        server.scraped()
        make_calls(3)
        server.scraped()
        for query in blocks(PAGE, "promql after"):
            assert server.get("query", query=query)["result"], query
        for query in blocks(PAGE, "promql before"):
            server.get("query", query=query)
        share, tokens = (
            server.value(next(q for q in blocks(PAGE, "promql after") if name in q))
            for name in ("llm_errors_total", "llm_tokens_total")
        )
        assert share == pytest.approx(0.5)
        assert tokens > 0
        with pytest.raises(urllib.error.HTTPError):
            server.get("query", query="sum by (rate(x[5m]))")  # a query that cannot be parsed


def test_a_taken_name_stops_the_program_with_the_sentence_of_the_page() -> None:
    quoted = " ".join(re.findall(r"^> (.*)$", section(PAGE, "Side by side"), re.MULTILINE))
    for first, sentence in (("theirs", quoted), ("ours", "Duplicated timeseries in Collector")):
        code = """
            from tests.integration.apps.homemade import make_module
            import agentmetrics
            steps = {"theirs": make_module, "ours": agentmetrics.get_recorder}
            steps.pop(FIRST)()
            steps.popitem()[1]()
        """
        done = subprocess.run(
            [sys.executable, "-c", inspect.cleandoc(code).replace("FIRST", repr(first))],
            cwd=ROOT,
            env={**os.environ, "AGENTMETRICS_BACKEND": "prometheus"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 1
        assert sentence in done.stderr.splitlines()[-1]


# The names


def names_of(cell: str) -> list[tuple[str, set[str]]]:
    """The metrics in a cell, each with the labels in its braces."""
    found = []
    for name, labels in re.findall(r"`([a-z_]+)(?:\{([^}]*)\})?`", cell):
        if "_" in name:
            told = {label.split("=")[0] for label in labels.split(",") if label}
            found.append((name, (told - {"CALL"}) | (CALL if "CALL" in told else set())))
    return found


def test_every_name_on_the_right_is_in_the_reference_with_its_labels() -> None:
    table = rows(section(PAGE, "Names"), "you have", "here")
    assert len(table) > 20
    for theirs, ours in table:
        same = ours.startswith("the same name")
        here = names_of(theirs if same else ours)
        assert here, ours
        for name, labels in here:
            assert name in METRICS, name
            assert labels <= METRICS[name], (name, labels)


def test_what_plugins_record_has_its_prefix_and_its_extra_on_the_page() -> None:
    names = section(PAGE, "Names")
    for prefix, extra in {"http_": "asgi", "db_": "sqlalchemy", "celery_": "celery"}.items():
        assert f"`{prefix}*`" in names
        assert f"[{extra}]`" in names
        assert [metric for metric in PLATFORM if metric.name.startswith(prefix)]
    assert "`system_*`" in names


def test_every_function_on_the_right_is_public() -> None:
    known = {*dir(agentmetrics), "call", "budget", "agent_metrics", "prometheus_client"}
    for _, ours in rows(section(PAGE, "Names"), "you call", "here"):
        for span in re.findall(r"`([^`]+)`", ours):
            if span[0] not in '"/':
                assert re.split(r"\W", span)[0] in known, span


def test_the_series_are_in_generate_latest_and_go_back_to_0() -> None:
    code = """
        from prometheus_client import generate_latest
        import agentmetrics
        with agentmetrics.track_call("openai", "gpt-4o") as call:
            call.record_usage(10, 5)
        def value():
            lines = generate_latest().decode().splitlines()
            found = [l for l in lines if "llm_calls_total{" in l and "success" in l]
            return [line.split()[-1] for line in found]
        print(value())
        agentmetrics.get_recorder().reset()
        print(value())
    """
    done = subprocess.run(
        [sys.executable, "-c", inspect.cleandoc(code)],
        env={**os.environ, "AGENTMETRICS_BACKEND": "prometheus", "AGENTMETRICS_NAMESPACE": "next"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["['1.0']", "['0.0']"], done.stderr
