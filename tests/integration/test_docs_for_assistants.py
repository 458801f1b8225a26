"""The page for coding assistants: its snippets run, its table of mistakes is true."""

from __future__ import annotations

import contextvars
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

import agentmetrics
from agentmetrics import (
    InstrumentedAgent,
    InstrumentedEmbeddings,
    MemoryRecorder,
    MetricsCallbackHandler,
    track_call,
)
from agentmetrics.errors import UnknownMetricError
from tests.integration.pages import blocks, command, fences, page, reference, rows, series
from tests.services.plugins import backend_names
from tests.services.wire import Answer, Wire

PAGE = page("for-assistants.md")
SNIPPETS = blocks(PAGE, "python")
MODEL = "gpt-4o-mini"

pytestmark = pytest.mark.filterwarnings("ignore:Unexpected type for token usage:UserWarning")


@pytest.fixture(autouse=True)
def _asking_the_wire(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{wire.url}/v1")


def run(words: str) -> dict[str, Any]:
    """Run the one snippet that has these words; what it defines."""
    (snippet,) = (snippet for snippet in SNIPPETS if words in snippet)
    program: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet, "for-assistants.md", "exec"), program)
    return program


def search(query: str) -> str:
    """Search."""
    return query


def test_every_snippet_is_run_by_a_test() -> None:
    assert sorted(fences(PAGE)) == ["console", *["python"] * 6, "python test"]
    ran = ("class Reviewer", "create_agent(", "instrument()", "track_call(", "InstrumentedEmb")
    for words in (*ran, "start_http_server_in_thread("):
        assert sum(words in snippet for snippet in SNIPPETS) == 1, words


def test_a_class_of_ones_own(agent_metrics: MemoryRecorder) -> None:
    run("class Reviewer")
    assert series(agent_metrics, "agent_runs_total", "agent_name") == {("reviewer",): 1}
    assert series(agent_metrics, "llm_calls_total", "agent_name") == {("reviewer",): 1}


def test_a_handler_in_the_config(wire: Wire, agent_metrics: MemoryRecorder) -> None:
    wire.script(MODEL, Answer(tools=(("search", {"query": "scrape"}),)), Answer())
    run("create_agent(")
    for name, count in (("llm_calls", 2), ("tool_executions", 1), ("agent_runs", 1)):
        assert series(agent_metrics, f"{name}_total", "agent_name") == {("researcher",): count}


def test_a_call_without_langchain(wire: Wire, agent_metrics: MemoryRecorder) -> None:
    program = run("track_call(")
    program["client"].close()
    (billed,) = wire.calls
    assert agent_metrics.value("llm_calls_total", agent_name="greeter", status="success") == 1
    tokens = billed.input_tokens + billed.output_tokens
    assert agent_metrics.value("llm_tokens_total", agent_name="greeter") == tokens


def test_embeddings_are_wrapped(agent_metrics: MemoryRecorder) -> None:
    embeddings = run("InstrumentedEmb")["embeddings"]
    assert isinstance(embeddings, InstrumentedEmbeddings)
    assert embeddings.model == "text-embedding-3-small"


def python(code: str, **env: str) -> str:
    """What a fresh interpreter prints: for what stays for the life of a process."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_instrument_sees_every_call_once_and_again_is_harmless(wire: Wire) -> None:
    (snippet,) = (snippet for snippet in SNIPPETS if "instrument()" in snippet)
    code = """
from langchain_openai import ChatOpenAI
from agentmetrics import InstrumentedAgent, MetricsCallbackHandler
model = ChatOpenAI(model="gpt-4o-mini")
class Agent(InstrumentedAgent):
    def run(self):
        model.invoke("a", {"callbacks": [MetricsCallbackHandler()]})
model.invoke("b")
Agent().run()
print(agentmetrics.get_recorder().value("llm_calls_total"))
"""
    assert python(snippet + snippet + code) == "2.0"
    assert wire.count() == 2


def test_a_server_of_metrics_in_a_thread() -> None:
    (snippet,) = (snippet for snippet in SNIPPETS if "start_http_server_in_thread(" in snippet)
    code = """
import urllib.request
with agentmetrics.track_call("openai", "gpt-4o-mini"):
    pass
body = urllib.request.urlopen(server.url).read().decode()
print(server.host, "llm_calls_total{" in body)
"""
    free = snippet.replace("port=9464", "port=0")
    assert free != snippet
    assert python(free + code, NO_PROXY="*") == "127.0.0.1 True"


def test_the_test_of_the_page_passes_where_nothing_but_the_package_is_configured(
    tmp_path: Path,
) -> None:
    (snippet,) = blocks(PAGE, "python test")
    (tmp_path / "test_reviewer.py").write_text(snippet)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_reviewer.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "1 passed" in done.stdout, done.stdout


def test_the_check_ends_with_1_when_something_is_wrong() -> None:
    assert "AGENTMETRICS_BACKEND" in command("agentmetrics check", os.environ)
    script = Path(sys.executable).with_name("agentmetrics")
    wrong = {**os.environ, "AGENTMETRICS_BACKEND": "prometeus"}
    done = subprocess.run([script, "check"], env=wrong, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"use one of {backend_names()}" in done.stderr


def test_the_extras_variables_and_metrics_of_the_page_exist() -> None:
    extras = set(metadata("llm-agentmetrics").get_all("Provides-Extra") or ())
    named = re.findall(r"`(\w+)`", " ".join(r[0] for r in rows(PAGE, "extra", "for")))
    assert set(named) == extras - {"demo"}
    (install,) = blocks(PAGE, "console")
    assert set(re.findall(r"\w+", install.split("[")[1].split("]")[0])) <= extras
    variables = set(re.findall(r"`(AGENTMETRICS_\w+|PROMETHEUS_\w+)`", PAGE))
    assert len(variables) > 6
    assert all(f"`{variable}`" in page("environment.md") for variable in variables)
    metrics = set(re.findall(r"\b((?:llm|agent|tool|agentmetrics)_\w+_(?:total|seconds))\b", PAGE))
    assert len(metrics) > 6
    assert metrics <= set(reference())


def test_the_modules_of_the_page_are_the_public_ones() -> None:
    code = "\n".join([*SNIPPETS, *blocks(PAGE, "python test")])
    modules = set(re.findall(r"^(?:from|import) (agentmetrics[\w.]*)", code, re.MULTILINE))
    assert modules == {"agentmetrics", "agentmetrics.exposition"}
    names = re.findall(r"^from agentmetrics import (.*)$", code, re.MULTILINE)
    assert {name.strip() for line in names for name in line.split(",")} <= {*dir(agentmetrics)}


# The mistakes


def twice(handler: MetricsCallbackHandler) -> None:
    with track_call("openai", MODEL):
        ChatOpenAI(model=MODEL).invoke("a", {"callbacks": [handler]})


def once(handler: MetricsCallbackHandler) -> None:
    class Agent(InstrumentedAgent):
        def run(self) -> None:
            ChatOpenAI(model=MODEL, callbacks=[handler]).invoke(
                "a", {"callbacks": [MetricsCallbackHandler()]}
            )

    Agent().run()


@pytest.mark.parametrize(("calls", "how"), [(2, twice), (1, once)])
def test_a_langchain_call_is_counted_once_except_inside_track_call(
    calls: int, how: Callable[[MetricsCallbackHandler], None], agent_metrics: MemoryRecorder
) -> None:
    how(MetricsCallbackHandler())
    assert agent_metrics.value("llm_calls_total") == calls


def test_callbacks_of_the_model_alone_miss_tools_and_runs(
    wire: Wire, agent_metrics: MemoryRecorder
) -> None:
    wire.script(MODEL, Answer(tools=(("search", {"query": "a"}),)), Answer())
    model = ChatOpenAI(model=MODEL, callbacks=[MetricsCallbackHandler()])
    create_agent(model, [search], name="researcher").invoke({"messages": [HumanMessage("a")]})
    assert agent_metrics.value("llm_calls_total") == 2
    assert agent_metrics.value("tool_executions_total") == 0
    assert agent_metrics.value("agent_runs_total") == 0


@pytest.mark.parametrize(("stream_usage", "has_tokens"), [(None, False), (True, True)])
def test_streams_behind_a_base_url_of_ones_own_are_asked_for_their_tokens(
    stream_usage: bool | None, has_tokens: bool, agent_metrics: MemoryRecorder
) -> None:
    model = ChatOpenAI(model=MODEL, stream_usage=stream_usage)
    for _ in model.stream("a", {"callbacks": [MetricsCallbackHandler()]}):
        pass
    assert agent_metrics.value("llm_calls_total", status="success") == 1
    assert (agent_metrics.value("llm_tokens_total") > 0) is has_tokens


def test_a_bare_thread_loses_the_agent_and_a_copied_context_keeps_it(
    agent_metrics: MemoryRecorder,
) -> None:
    class Agent(InstrumentedAgent):
        agent_name = "helper"

        def run(self) -> None:
            def call() -> None:
                with track_call("openai", MODEL):
                    pass

            for target, args in ((call, ()), (contextvars.copy_context().run, (call,))):
                thread = threading.Thread(target=target, args=args)
                thread.start()
                thread.join()

    Agent().run()
    assert series(agent_metrics, "llm_calls_total", "agent_name") == {
        ("unknown",): 1,
        ("helper",): 1,
    }


def test_what_value_and_histogram_say_of_the_wrong_name(agent_metrics: MemoryRecorder) -> None:
    with track_call("openai", MODEL):
        pass
    with pytest.raises(UnknownMetricError, match="did you mean 'llm_calls_total'"):
        agent_metrics.value("llm_call_total")
    assert agent_metrics.value("llm_calls_total", agent_name="nobody") == 0
    with pytest.raises(ValueError, match=r": read it with histogram\('llm_latency_seconds'\)"):
        agent_metrics.value("llm_latency_seconds")


def test_configure_ends_langchains_calls_that_are_open_as_cancelled(
    agent_metrics: MemoryRecorder,
) -> None:
    later = MemoryRecorder()
    handler = MetricsCallbackHandler()
    for number, _ in enumerate(ChatOpenAI(model=MODEL).stream("a", {"callbacks": [handler]})):
        if number == 1:
            agentmetrics.configure(later)
    assert series(agent_metrics, "llm_calls_total", "status") == {("cancelled",): 1}
    assert later.value("llm_calls_total") == 0
