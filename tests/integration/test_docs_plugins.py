"""The page on plugins: its backend, its meter and its source run, and record what it says."""

from __future__ import annotations

import ast
import json
import logging
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import anyio
import pytest

from agentmetrics import (
    Budget,
    BudgetExceeded,
    ConfigurationError,
    InstrumentedAgent,
    Ledger,
    MemoryRecorder,
    Namespace,
    Recorder,
    configure,
    labels,
    track_call,
)
from agentmetrics.budget.budgets.budgets import Budgets
from agentmetrics.config.active import replaced
from agentmetrics.pipeline import Options, pipeline_of
from agentmetrics.recording import known
from agentmetrics.sources import frameworks
from agentmetrics.testing.conformance import CALLS, ERRORS, SECONDS, TEMPERATURE
from tests.services.plugins import install
from tests.unit.scripted import by, calls, runs

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text()
_BLOCK = r"^```python\n(.*?)^```"
_FLAGS = re.DOTALL | re.MULTILINE
MODULES = dict(re.findall(rf"^`(\w+\.py)`:\n\n{_BLOCK}", PAGE, _FLAGS))
SUITE, PROGRAM = (b for b in re.findall(_BLOCK, PAGE, _FLAGS) if b not in MODULES.values())
(PYPROJECT,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
NEVER = 3600.0
"""Seconds between two flushes of a recorder that a test flushes itself."""


def module(name: str) -> Any:
    """A module of the page, imported."""
    made = ModuleType(name)
    sys.modules[name] = made
    exec(compile(MODULES[f"{name}.py"], f"{name}.py", "exec"), vars(made))
    return made


jsonlines = module("agentmetrics_jsonlines")
_suite: dict[str, Any] = {"__name__": "test_jsonlines"}
exec(compile(SUITE, "test_jsonlines.py", "exec"), _suite)


def test_the_page_has_the_modules_that_it_speaks_of() -> None:
    assert set(MODULES) == {
        "agentmetrics_jsonlines.py",
        "agentmetrics_tinyflow.py",
        "slow_calls.py",
        "spend_cap.py",
        "tinyflow.py",
    }


@pytest.mark.parametrize("source", [*MODULES.values(), SUITE, PROGRAM])
def test_the_examples_keep_the_import_rule(source: str) -> None:
    imported = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    ours = {name for name in imported if name and name.split(".")[0] == "agentmetrics"}
    assert ours <= {"agentmetrics", "agentmetrics.plugin", "agentmetrics.testing.conformance"}


# The backend


class TestTheBackendInTheSuite(_suite["TestJsonLines"]):  # type: ignore[misc,valid-type,name-defined]
    """What users subclass, with the example's own ``samples``."""


def lines_of(path: Path) -> list[dict[str, Any]]:
    def refuse(constant: str) -> NoReturn:
        raise AssertionError(f"{constant} is no JSON")

    text = path.read_text() if path.exists() else ""
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def sums_of(path: Path, *label_names: str) -> dict[Any, float]:
    """What the counters of a file add up to, by name and the values of these labels."""
    sums: dict[Any, float] = defaultdict(float)
    for line in lines_of(path):
        if line["name"].endswith("_total") and line["value"]:
            values = (line["labels"].get(label) for label in label_names)
            key = (line["name"], *values)
            sums[key] += line["value"]
    return dict(sums)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "logs").mkdir()
    return tmp_path / "logs" / "metrics.jsonl"


@pytest.fixture
def backend(path: Path) -> Iterator[Recorder]:
    recorder = jsonlines.JsonLinesRecorder(path, NEVER)
    yield recorder
    recorder.close()


class TestTheBackend:
    def test_the_backend_appends_only_what_has_changed(self, backend: Recorder, path: Path) -> None:
        backend.counter(CALLS).labels("planner", "success").inc(2)
        backend.gauge(TEMPERATURE).labels("kitchen").set(21)
        backend.flush()
        backend.counter(CALLS).labels("planner", "success").inc(3)
        backend.gauge(TEMPERATURE).labels("kitchen").set(21)
        backend.histogram(SECONDS).labels("planner").observe(0.5)
        backend.flush()
        backend.flush()
        assert [
            (line["name"], line.get("value", line.get("count"))) for line in lines_of(path)
        ] == [
            ("conformance_calls_total", 2),
            ("conformance_temperature", 21),
            ("conformance_calls_total", 3),
            ("conformance_seconds", 1),
        ]

    def test_the_backend_has_the_fields_that_the_page_shows(
        self, backend: Recorder, path: Path
    ) -> None:
        (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
        for _ in range(2):
            with track_call("openai", "gpt-4o", agent_name="planner", recorder=backend) as call:
                call.record_usage(10, 5)
        backend.flush()
        calls = (line for line in lines_of(path) if line["name"] == "llm_calls_total")
        (found,) = (line for line in calls if line["labels"]["status"] == "success")
        assert found | {"time": 1767225600.0, "pid": 4711} == json.loads(shown)
        assert found["pid"] == os.getpid()
        assert found["time"] == pytest.approx(time.time(), abs=60)

    @pytest.mark.parametrize("value", [math.inf, math.nan, "warm", 10**400])
    def test_the_backend_writes_json_whatever_a_gauge_was_set_to(
        self, backend: Recorder, path: Path, value: Any
    ) -> None:
        backend.gauge(TEMPERATURE).labels("kitchen").set(value)
        backend.histogram(SECONDS).labels("planner").observe(math.inf)
        backend.flush()
        gauge, histogram = lines_of(path)
        assert gauge["value"] is histogram["sum"] is None

    def test_the_backend_flushes_by_itself(self, path: Path) -> None:
        recorder = jsonlines.JsonLinesRecorder(path, 0.01)
        recorder.counter(ERRORS).labels("planner").inc()
        deadline = time.monotonic() + 20
        while not sums_of(path):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        recorder.close()

    def test_the_backend_can_be_read_in_the_process(self, backend: Recorder) -> None:
        backend.counter(ERRORS).labels("planner").inc(2)
        assert backend.value(ERRORS.name) == 2
        assert backend.value("jsonlines_lines_dropped_total") == 0  # known, and nothing counted

    def test_the_backend_drops_and_counts_what_it_cannot_write_and_says_so_once(
        self, backend: Recorder, path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        around = Namespace(backend, "shop")
        path.parent.rmdir()
        errors = around.counter(ERRORS).labels("planner")
        for _ in range(3):
            errors.inc()
            around.flush()
        self._wait_for(caplog, 1)  # it is logged when the lock is free
        said = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert said == [f"cannot append to {path}: No such file or directory"]
        path.parent.mkdir()
        around.flush()
        # One line of ERRORS each time, and of the counter of dropped lines twice.
        assert sums_of(path) == {("shop_jsonlines_lines_dropped_total",): 2}
        assert around.value("jsonlines_lines_dropped_total") == 5
        errors.inc()
        around.flush()
        assert sums_of(path)["shop_conformance_errors_total",] == 1
        path.unlink()
        path.mkdir()
        errors.inc()
        around.flush()
        self._wait_for(caplog, 2)
        assert caplog.messages[1:] == [f"cannot append to {path}: Is a directory"]

    def _wait_for(self, caplog: pytest.LogCaptureFixture, messages: int) -> None:
        deadline = time.monotonic() + 30
        while len(caplog.messages) < messages:
            assert time.monotonic() < deadline, "nothing was logged"
            time.sleep(0.005)

    def test_the_backend_may_be_flushed_inside_of_an_update_while_another_thread_flushes(
        self, backend: Any, path: Path
    ) -> None:
        errors = backend.counter(ERRORS).labels("planner")
        errors.inc()
        other = threading.Thread(target=backend.flush, daemon=True)

        def work() -> None:
            with backend._writing:  # as a third does whose disk is slow
                other.start()
                while not backend._waiting:
                    time.sleep(0.001)
                step = backend.update()
                step.__enter__()
            time.sleep(0.1)  # for the other to go on as far as it can
            errors.inc()
            backend.flush()
            step.__exit__(None, None, None)

        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        for thread in (worker, other):
            thread.join(20)
            assert not thread.is_alive(), "each waits for the other's lock"
        assert sums_of(path) == {(ERRORS.name,): 2}

    def test_the_backend_follows_its_file_where_the_program_goes(
        self, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(path.parent)
        backend = jsonlines.JsonLinesRecorder(Path(path.name), NEVER)
        backend.counter(ERRORS).labels("planner").inc()
        monkeypatch.chdir(tmp_path)
        backend.close()
        assert sums_of(path) == {(ERRORS.name,): 1}

    @pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
    def test_the_backend_leaves_to_the_parent_of_a_fork_what_that_is_about_to_write(
        self, backend: Any, path: Path
    ) -> None:
        backend.counter(ERRORS).labels("planner").inc()
        flushing = threading.Thread(target=backend.flush)
        with backend._writing:  # as a thread does whose disk is slow
            flushing.start()
            while not backend._waiting:
                time.sleep(0.001)
            child = os.fork()
            if child == 0:
                signal.alarm(20)  # ends a child that waits for a lock
                backend.counter(ERRORS).labels("writer").inc()
                backend.flush()
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
            assert sums_of(path, "agent") == {(ERRORS.name, "writer"): 1}
        flushing.join()
        assert sums_of(path, "agent") == {(ERRORS.name, "writer"): 1, (ERRORS.name, "planner"): 1}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the page's distribution, and its other modules beside."""
    site = tmp_path / "site"
    site.mkdir()
    project = tomllib.loads(PYPROJECT)["project"]
    install(site, project["name"], project["entry-points"], MODULES, tuple(project["dependencies"]))
    points = {"agentmetrics.plugins": {"tinyflow": "agentmetrics_tinyflow"}}
    install(site, "agentmetrics-tinyflow", points)
    return site


TRAFFIC = """\
import os, sys
from agentmetrics import get_recorder, track_call

def call(agent):
    with track_call("openai", "gpt-4o", agent_name=agent) as tracked:
        tracked.record_usage(input_tokens=100, output_tokens=10)

def in_child(work):
    child = os.fork()
    if child == 0:
        work()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

def exits():
    call("child")
    sys.exit()

def ends_at_once():
    call("child")
    get_recorder().flush()
    call("lost")
    os._exit(0)

call("parent")
call("parent")
in_child(exits)
in_child(ends_at_once)
call("parent")
"""


def python(site: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "AGENTMETRICS" not in name}
    return subprocess.run(
        [sys.executable, *arguments],
        env={**kept, "PYTHONPATH": str(site), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestTheBackendByItsName:
    def test_the_backend_is_used_and_delivers_each_call_once_over_forks_and_at_the_end(
        self, site: Path, path: Path
    ) -> None:
        done = python(
            site, "-W", "ignore::DeprecationWarning", "-c", TRAFFIC,  # of a fork beside a thread
            AGENTMETRICS_BACKEND="jsonlines", AGENTMETRICS_JSONLINES_PATH=str(path),
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        sums = sums_of(path, "agent_name", "token_type")
        assert {key[1:]: value for key, value in sums.items() if key[0] == "llm_tokens_total"} == {
            ("parent", "input"): 300,
            ("parent", "output"): 30,
            ("child", "input"): 200,
            ("child", "output"): 20,
        }
        assert sums["llm_calls_total", "parent", None] == 3
        assert sums["llm_calls_total", "child", None] == 2
        seconds = [line for line in lines_of(path) if line["name"] == "llm_latency_seconds"]
        assert sum(line["count"] for line in seconds) == 5
        by_process = {(line["pid"], line["labels"]["agent_name"]) for line in seconds}
        assert len(by_process) == 3  # nobody writes what is another's

    def test_the_backend_is_closed_at_the_end_where_a_program_has_made_it_itself(
        self, site: Path, path: Path
    ) -> None:
        code = (
            "from pathlib import Path; from agentmetrics import track_call\n"
            "from agentmetrics_jsonlines import JsonLinesRecorder\n"
            f"recorder = JsonLinesRecorder(Path({str(path)!r}))\n"
            "with track_call('openai', 'gpt-4o', recorder=recorder) as call:\n"
            "    call.record_usage(10, 5)"
        )
        done = python(site, "-c", code)
        assert (done.returncode, done.stderr) == (0, "")
        assert sums_of(path)["llm_calls_total",] == 1

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (
                None,
                " is not set: name a file, as in AGENTMETRICS_JSONLINES_PATH=spend.jsonl",
            ),
            (
                "/nowhere/at/all.jsonl",
                "='/nowhere/at/all.jsonl' is in a directory that does not exist: name a file",
            ),
            ("/", "='/' is a directory: name a file"),
        ],
    )
    def test_the_backend_names_its_variable_when_it_cannot_be_used(
        self, site: Path, monkeypatch: pytest.MonkeyPatch, agent_metrics: Recorder,
        value: str | None, said: str,
    ) -> None:  # fmt: skip
        monkeypatch.syspath_prepend(site)
        if value is not None:
            monkeypatch.setenv("AGENTMETRICS_JSONLINES_PATH", value)
        with pytest.raises(ConfigurationError) as raised:
            configure(backend="jsonlines")
        assert str(raised.value) == f"AGENTMETRICS_JSONLINES_PATH{said}"

    def test_the_backend_is_probed_by_check(self, site: Path, path: Path) -> None:
        settings = {
            "AGENTMETRICS_BACKEND": "jsonlines",
            "AGENTMETRICS_JSONLINES_PATH": str(path),
            "AGENTMETRICS_TINYFLOW_LEVEL": "1",
        }
        fine = python(site, "-m", "agentmetrics.cli", "check", **settings)
        assert (fine.returncode, fine.stderr) == (0, "")
        assert "agentmetrics_jsonlines:JsonLinesRecorder" in fine.stdout
        path.unlink()
        path.symlink_to(path)  # which nobody can open, not even root
        broken = python(site, "-m", "agentmetrics.cli", "check", **settings)
        assert broken.returncode == 1
        assert f"cannot append to {path}: " in broken.stderr


# The meter


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    """The configured recorder, with the extra label of the page's program."""
    recorder = MemoryRecorder()
    pipeline_of(recorder, Options(extra_labels=("tenant",)))
    with replaced(recorder):
        yield recorder


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What modules make known where they are imported is for one test."""
    monkeypatch.setattr(known, "_metrics", dict(known._metrics))
    monkeypatch.setattr(known, "_values", dict(known._values))
    monkeypatch.setattr(frameworks, "_frameworks", list(frameworks._frameworks))


def test_the_meter_counts_calls_that_were_too_slow(recorder: MemoryRecorder) -> None:
    slow_calls = module("slow_calls")
    assert recorder.value("llm_slow_calls_total", status="success") == 0
    with pytest.raises(KeyError, match="llm_slow_calls_total never has status='slow'"):
        recorder.value("llm_slow_calls_total", status="slow")
    slow_calls.count_slow_calls()
    for seconds in (30.0, 0.0, 0.0):
        slow_calls.SECONDS = seconds
        with labels(tenant="acme"), track_call("openai", "gpt-4o", agent_name="planner"):
            pass
    found = by(recorder, "llm_slow_calls_total", "agent_name", "status", "tenant")
    assert found == {("planner", "success", "acme"): 2}


# The gate


def test_the_gate_refuses_calls_once_the_cap_is_spent(recorder: MemoryRecorder) -> None:
    cap = module("spend_cap").cap_spend(limit_usd=0.002)

    def spend() -> None:
        with track_call("openai", "gpt-4o") as call:  # 2.50 and 10 USD a million tokens
            call.record_usage(input_tokens=200, output_tokens=50)

    spend()
    assert cap.spent_usd == pytest.approx(0.001)
    spend()
    with pytest.raises(BudgetExceeded, match="process budget 'cap' for all calls is spent"):
        spend()
    assert recorder.value("llm_calls_total") == 2
    assert recorder.value("agentmetrics_handler_errors_total") == 0


# The source

TOKENS = {"input_tokens": 1000, "output_tokens": 100}
COST = 0.0035  # of these, with gpt-4o: 2.50 USD a million input tokens, 10 output


@pytest.fixture
def tinyflow(recorder: MemoryRecorder) -> Iterator[Any]:
    """The framework of the page, with the page's source as its listener; nothing is left open."""
    framework = module("tinyflow")
    source = module("agentmetrics_tinyflow")
    framework.listeners.append(source.TinyflowMetrics())
    yield framework
    assert recorder.value("agentmetrics_open_runs") == 0


def call(tinyflow: Any, model: str = "gpt-4o", **info: Any) -> None:
    with tinyflow.step("model", model, provider="openai", **info) as step:
        step.info["usage"] = TOKENS


def of_runs(recorder: MemoryRecorder, what: str, agent: str) -> float:
    """The sum over an agent's runs of their ``llm_calls``, ``cost_usd`` and the like."""
    return recorder.histogram(f"agent_run_{what}", agent_name=agent).sum


class TestTheSource:
    def test_the_source_records_what_the_page_says(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        tinyflow.listeners.clear()
        exec(compile(PROGRAM, "program.py", "exec"), {})
        assert by(recorder, "llm_calls_total", "agent_name", "model", "tenant", "status") == {
            ("planner", "gpt-4o", "acme", "success"): 1,
            ("planner", "gpt-4o-mini", "acme", "success"): 1,
        }
        assert by(recorder, "llm_tokens_total", "model", "token_type") == {
            ("gpt-4o", "input"): 1000,
            ("gpt-4o", "output"): 100,
            ("gpt-4o-mini", "input"): 200,
            ("gpt-4o-mini", "output"): 20,
        }
        cost = by(recorder, "llm_cost_usd_total", "model", "tenant")
        assert cost == pytest.approx({("gpt-4o", "acme"): COST, ("gpt-4o-mini", "acme"): 0.000042})
        tools = by(recorder, "tool_executions_total", "agent_name", "tool_name", "status", "tenant")
        assert tools == {("planner", "search", "success", "acme"): 1}
        assert by(recorder, "agent_runs_total", "agent_name", "status", "tenant") == {
            ("planner", "success", "acme"): 1
        }
        assert of_runs(recorder, "llm_calls", "planner") == 2
        assert of_runs(recorder, "tool_calls", "planner") == 1
        assert of_runs(recorder, "tokens", "planner") == 1320
        assert of_runs(recorder, "cost_usd", "planner") == pytest.approx(COST + 0.000042)
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_the_source_gives_the_ledger_what_was_spent(
        self, tinyflow: Any, recorder: MemoryRecorder, tmp_path: Path
    ) -> None:
        with Ledger(f"sqlite:///{tmp_path}/spend.db", flush_interval_seconds=NEVER) as ledger:
            ledger.attach(recorder)
            with tinyflow.step("agent", "planner", tenant="acme"):
                call(tinyflow)
                call(tinyflow)
            (group,) = ledger.summary(by=("agent_name", "tenant", "status")).groups
        assert group.labels == {"agent_name": "planner", "tenant": "acme", "status": "success"}
        assert (group.amounts.calls, group.amounts.as_dict()["cost_usd"]) == (2, 2 * COST)

    def test_the_source_records_errors_of_calls_tools_and_runs(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        def flow() -> None:
            with tinyflow.step("agent", "planner"):
                with pytest.raises(KeyError), tinyflow.step("tool", "search"):
                    raise KeyError
                with tinyflow.step("model", "gpt-4o", provider="openai"):
                    raise TimeoutError

        with pytest.raises(TimeoutError):
            flow()
        assert calls(recorder) == {("planner", "error"): 1}
        assert by(recorder, "llm_errors_total", "agent_name", "error_type") == {
            ("planner", "timeout"): 1
        }
        assert by(recorder, "tool_executions_total", "tool_name", "status") == {
            ("search", "error"): 1
        }
        assert runs(recorder) == {("planner", "error"): 1}

    @pytest.mark.anyio
    async def test_the_source_records_what_was_cancelled(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        with anyio.CancelScope() as scope:
            model = tinyflow.step("model", "gpt-4o", provider="openai")
            with tinyflow.step("agent", "planner"), tinyflow.step("tool", "ask"), model:
                scope.cancel()
                await anyio.sleep(60)
        assert calls(recorder) == {("planner", "cancelled"): 1}
        assert by(recorder, "tool_executions_total", "status") == {"cancelled": 1}
        assert runs(recorder) == {("planner", "cancelled"): 1}
        assert recorder.value("llm_errors_total") == 0

    def test_the_source_records_as_cancelled_what_never_says_that_it_ended(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        (listener,) = tinyflow.listeners
        agent = tinyflow.Step("agent", "planner", {}, None)
        listener.started(agent)
        listener.started(tinyflow.Step("model", "gpt-4o", {"provider": "openai"}, agent))
        del agent
        assert recorder.value("agentmetrics_open_runs") == 0
        assert calls(recorder) == {("planner", "cancelled"): 1}
        assert runs(recorder) == {("planner", "cancelled"): 1}

    def test_the_source_keeps_agents_inside_of_agents_apart(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        with tinyflow.step("agent", "planner", tenant="acme"):
            call(tinyflow)
            with tinyflow.step("step", "draft"), tinyflow.step("agent", "writer"):
                assert recorder.value("agent_active_runs") == 2
                call(tinyflow)
                with suppress(KeyError), tinyflow.step("agent", "editor", tenant="globex"):
                    call(tinyflow)
                    raise KeyError
                call(tinyflow)
            call(tinyflow)
        assert by(recorder, "llm_calls_total", "agent_name", "tenant") == {
            ("planner", "acme"): 2,
            ("writer", "acme"): 2,
            ("editor", "globex"): 1,
        }
        assert runs(recorder) == {
            ("planner", "success"): 1,
            ("writer", "success"): 1,
            ("editor", "error"): 1,
        }
        assert of_runs(recorder, "llm_calls", "planner") == 2
        assert of_runs(recorder, "cost_usd", "editor") == pytest.approx(COST)

    def test_the_source_knows_the_instrumented_agent_around_and_those_inside(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        class Reviewer(InstrumentedAgent):
            def run(self, then: Callable[[], None] = lambda: None) -> None:
                with track_call("openai", "gpt-4o"):
                    pass
                then()

        def flow() -> None:
            call(tinyflow)  # no agent of tinyflow's is around
            with tinyflow.step("agent", "planner", tenant="acme"):
                call(tinyflow)
                Reviewer().run()

        Reviewer().run(flow)
        assert by(recorder, "llm_calls_total", "agent_name", "tenant") == {
            ("Reviewer", ""): 2,
            ("planner", "acme"): 1,
            ("Reviewer", "acme"): 1,
        }
        assert of_runs(recorder, "llm_calls", "Reviewer") == 3
        assert of_runs(recorder, "llm_calls", "planner") == 1

    def test_the_source_gives_agents_and_calls_inside_of_a_run_its_extra_labels(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        class Reviewer(InstrumentedAgent):
            def run(self) -> None:
                with track_call("openai", "gpt-4o"):
                    pass

        with tinyflow.step("agent", "planner", tenant="acme"):
            Reviewer().run()
            with track_call("openai", "gpt-4o", agent_name="helper"):
                pass
        assert by(recorder, "llm_calls_total", "agent_name", "tenant") == {
            ("Reviewer", "acme"): 1,
            ("helper", "acme"): 1,
        }
        assert by(recorder, "agent_runs_total", "agent_name", "tenant")["Reviewer", "acme"] == 1

    def test_the_source_leaves_calls_outside_of_a_flow_alone(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        with track_call("openai", "gpt-4o"):
            pass
        assert calls(recorder) == {("unknown", "success"): 1}

    def test_the_source_harms_nothing_where_it_does_not_understand(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        with tinyflow.step("model", "gpt-4o") as step:  # without a provider
            step.info["usage"] = TOKENS
        with tinyflow.step("model", "gpt-4o", provider="openai") as step:
            step.info["usage"] = {"input_tokens": -1}
        assert by(recorder, "agentmetrics_handler_errors_total", "event") == {
            "tinyflow_started": 1,
            "tinyflow_ended": 1,
        }
        assert calls(recorder) == {("unknown", "success"): 1}
        assert recorder.value("llm_tokens_total") == 0


class TestBudgetsOfTheSource:
    def hold(self, recorder: MemoryRecorder, **budget: Any) -> Budgets:
        of = Budget("team", scope={"agent_name": "planner"}, action="block", **budget)
        return Budgets((of,), recorder)

    def test_budgets_of_the_source_refuse_a_call_before_it_is_made(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        budgets = self.hold(recorder, limit_usd=COST / 2)
        made: list[str] = []

        def flow() -> None:
            with tinyflow.step("agent", "planner"):
                call(tinyflow)
                with tinyflow.step("model", "gpt-4o", provider="openai"):
                    made.append("a request")

        with tinyflow.step("agent", "writer"):
            call(tinyflow)
        with pytest.raises(BudgetExceeded):
            flow()
        assert made == []
        assert calls(recorder) == {
            ("writer", "success"): 1,
            ("planner", "success"): 1,
        }
        assert runs(recorder) == {("writer", "success"): 1, ("planner", "error"): 1}
        assert recorder.value("budget_blocked_calls_total", budget="team") == 1
        (status,) = budgets.status()
        assert status.spent_usd == pytest.approx(COST)
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_budgets_of_the_source_reserve_the_most_that_a_call_can_use(
        self, tinyflow: Any, recorder: MemoryRecorder
    ) -> None:
        budgets = self.hold(recorder, limit_usd=0.01, reserve="max_tokens")
        with tinyflow.step("agent", "planner"):
            with tinyflow.step("model", "gpt-4o", provider="openai", prompt="x", max_tokens=900):
                (status,) = budgets.status()
                assert status.reserved_usd == pytest.approx(0.0090025)
                with pytest.raises(BudgetExceeded):
                    call(tinyflow, prompt="x", max_tokens=900)
            call(tinyflow, prompt="x", max_tokens=900)
            with pytest.raises(BudgetExceeded):
                call(tinyflow)  # whose most nobody knows
        (status,) = budgets.status()
        assert (status.reserved_usd, status.spent_usd) == pytest.approx((0, COST))


def test_the_adapter_comes_with_the_framework(site: Path) -> None:
    code = """
        import sys
        from agentmetrics.plugin import when_imported
        when_imported("tinyflow", "agentmetrics_tinyflow")
        print("agentmetrics_tinyflow" in sys.modules)
        import tinyflow
        print("agentmetrics_tinyflow" in sys.modules)
    """
    done = python(site, "-c", "\n".join(map(str.strip, code.splitlines())))
    assert (done.stdout.split(), done.stderr) == (["False", "True"], "")


@pytest.mark.parametrize("name", sorted(Path(name).stem for name in MODULES))
def test_an_installed_module_of_the_page_can_be_imported(name: str, site: Path) -> None:
    done = python(site, "-W", "error", "-c", f"import {name}")
    assert (done.returncode, done.stderr) == (0, "")
