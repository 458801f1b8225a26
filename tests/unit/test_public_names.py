"""The public names: there, lazily imported, and clear about what is missing."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import textwrap
from importlib.metadata import version

import pytest

import agentmetrics

public: list[str] = vars(agentmetrics)["__all__"]

PROMISED = {
    "MetricsCallbackHandler", "InstrumentedAgent", "track_call", "labels", "configure",
    "get_recorder", "instrument", "Recorder", "MemoryRecorder", "PrometheusRecorder",
    "StatsDRecorder", "FanoutRecorder", "NoopRecorder", "Metric", "Counter", "Gauge",
    "Histogram", "Usage", "InstrumentedEmbeddings", "InstrumentedReranker",
    "CacheTracker", "InstrumentedCache", "routing", "record_model_selection",
    "record_cost_savings",
    "Ledger", "LedgerUnavailable", "get_ledger",
}  # fmt: skip
EXTRAS = ("prometheus_client", "prometheus_async", "aiohttp", "statsd", "langchain_core",
          "genai_prices", "typer", "rich", "sqlalchemy", "langgraph", "pytest")  # fmt: skip


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_promised_name_is_public():
    assert set(public) >= PROMISED


@pytest.mark.parametrize("name", public)
def test_every_public_name_can_be_imported_and_is_documented(name):
    module = importlib.reload(agentmetrics)  # forgets what was looked up before
    vars(module).pop(name, None)
    value = getattr(module, name)
    assert value.__doc__
    assert value.__name__ == name
    assert vars(module)[name] is value  # and is not looked up again


def test_the_list_of_names_is_sorted_and_shown():
    assert public == sorted(public)
    assert set(dir(agentmetrics)) >= {*public, "__version__"}


def test_the_version_is_that_of_the_distribution():
    assert agentmetrics.__version__ == version("llm-agentmetrics")


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'MetricHandler'"):
        agentmetrics.MetricHandler  # type: ignore[attr-defined]
    with pytest.raises(ImportError):
        from agentmetrics import MetricHandler  # type: ignore[attr-defined]  # noqa: F401


def test_importing_agentmetrics_imports_none_of_the_extras():
    code = f"""
        import sys, agentmetrics
        print([name for name in {EXTRAS!r} if name in sys.modules])
    """
    assert run(code) == "[]"


def test_recording_in_memory_needs_none_of_the_extras():
    code = f"""
        import sys
        for name in {EXTRAS!r}:
            sys.modules[name] = None  # as if it were not installed
        import agentmetrics
        class Reviewer(agentmetrics.InstrumentedAgent):
            def run(self):
                with self.track_call("openai", "gpt-4o") as call:
                    call.record_usage(input_tokens=5, output_tokens=7)
        Reviewer().run()
        recorder = agentmetrics.get_recorder()
        print(recorder.value("llm_tokens_total"), recorder.value("agent_runs_total"),
              recorder.value("llm_unpriced_calls_total"))
    """
    assert run(code) == "12.0 1.0 1.0"


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [
        ("MetricsCallbackHandler", "langchain_core", "langchain"),
        ("instrument", "langchain_core", "langchain"),
        ("InstrumentedEmbeddings", "langchain_core", "langchain"),
        ("InstrumentedReranker", "langchain_core", "langchain"),
        ("InstrumentedCache", "langchain_core", "langchain"),
        ("InstrumentedRemoteGraph", "langchain_core", "langchain"),
        ("PrometheusRecorder", "prometheus_client", "prometheus"),
        ("StatsDRecorder", "statsd", "statsd"),
        ("Ledger", "sqlalchemy", "ledger"),
    ],
)
def test_a_missing_extra_says_what_to_type(name, package, extra):
    code = f"""
        import sys
        sys.modules[{package!r}] = None
        import agentmetrics
        try:
            agentmetrics.{name}
        except ImportError as error:
            print(error)
    """
    assert run(code).startswith(f"{name} needs the package '{package}")
    assert run(code).endswith(f"pip install 'llm-agentmetrics[{extra}]'")


def test_a_name_that_needs_langgraph_says_what_to_type():
    code = """
        import sys
        sys.modules["langgraph"] = None
        import agentmetrics
        try:
            agentmetrics.InstrumentedRemoteGraph
        except ImportError as error:
            print(error)
    """
    assert run(code).startswith("InstrumentedRemoteGraph needs the package 'langgraph")
    assert run(code).endswith(": pip install 'langgraph'")


def test_a_bug_that_is_no_missing_extra_is_not_hidden(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'something_else'", name="something_else")

    monkeypatch.setattr(agentmetrics, "_load", broken)
    monkeypatch.delitem(vars(agentmetrics), "Usage", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"^No module named 'something_else'$"):
        agentmetrics.Usage


@pytest.mark.parametrize(
    ("made", "name"),
    [
        ("agentmetrics.MemoryRecorder()", "MemoryRecorder"),
        ("agentmetrics.Namespace(agentmetrics.MemoryRecorder(), 'shop')",
         "Namespace of MemoryRecorder"),
        ("type('Own', (agentmetrics.Recorder,), OWN)()", "Own"),
    ],
)  # fmt: skip
def test_a_recorder_shows_itself_in_a_program_that_imports_nothing_else(made, name):
    code = f"""
        import agentmetrics
        OWN = dict.fromkeys(agentmetrics.Recorder.__abstractmethods__)
        OWN["collect"] = lambda self: []
        recorder = {made}
        print(recorder)
        print(recorder.summary().total.calls, recorder.summary())
    """
    assert run(code).splitlines() == [
        f"<{name}: no runs, calls or tools recorded>",
        "0 No agent run, LLM call or tool execution has been recorded.",
    ]


def test_importing_agentmetrics_imports_no_summary():
    code = """
        import sys, agentmetrics
        print([name for name in sys.modules if name.startswith("agentmetrics.")])
    """
    assert run(code) == "[]"


def test_the_installed_distribution_registers_the_backends_and_the_pytest_plugin():
    code = """
        import json
        from importlib.metadata import entry_points
        print(json.dumps({
            "backends": sorted(
                p.name
                for p in entry_points(group="agentmetrics.backends")
                if p.dist.name == "llm-agentmetrics"
            ),
            "pytest": [p.value for p in entry_points(group="pytest11") if p.name == "agentmetrics"],
        }))
    """
    assert json.loads(run(code)) == {
        "backends": ["memory", "noop", "prometheus", "statsd"],
        "pytest": ["agentmetrics.testing"],
    }
