"""The README: its example runs, its lines are what is sent, and its variables are all there are."""

from __future__ import annotations

import re
from pathlib import Path

import agentmetrics
import agentmetrics_datadog
from agentmetrics import MemoryRecorder, track_call
from agentmetrics.catalog import LLM_CALLS, LLM_LATENCY
from agentmetrics_datadog import environment
from tests.services.dogstatsd import agent_at, parsed
from tests.services.statsd import eventually

PLUGIN = Path(__file__).parents[1]
TEXT = (PLUGIN / "README.md").read_text()


def test_the_example_runs(tmp_path: Path, agent_metrics: MemoryRecorder) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    with agent_at("unix", tmp_path) as agent:
        written = example.replace("/var/run/datadog/dsd.socket", agent.path)
        assert written != example
        exec(compile(written, "README.md", "exec"), {})
        recorder = agentmetrics.get_recorder()
        with track_call("openai", "gpt-4o", agent_name="planner") as call:
            call.record_usage(10, 5)
        recorder.close()
        assert eventually(lambda: agent.counted("llm_tokens_total") == 15)
        assert all(("service", "shop") in each.tags for each in agent.messages())


def test_its_lines_are_of_the_grammar() -> None:
    calls, latency = map(parsed, re.findall(r"^    (\w+:\d.*)$", TEXT, re.MULTILINE))
    assert (calls.type, calls.values, calls.container) == ("c", (2,), "in-4711")
    assert (latency.type, latency.values) == ("d", (0.8, 1.25))


def test_the_lines_are_what_is_sent(tmp_path: Path) -> None:
    wanted = re.findall(r"^    (\w+:\d.*)$", TEXT, re.MULTILINE)
    with agent_at("unix", tmp_path) as agent:
        recorder = agentmetrics_datadog.DogStatsDRecorder(
            agent.url, tags={"env": "prod"}, container_id="in-4711", flush_interval_seconds=3600
        )
        call = ("planner", "openai", "gpt-4o")
        recorder.counter(LLM_CALLS).labels(*call, "success").inc(2)
        recorder.histogram(LLM_LATENCY).labels(*call).observe(0.8)
        recorder.histogram(LLM_LATENCY).labels(*call).observe(1.25)
        recorder.close()
        agent.settle()
        assert agent.lines() == wanted


def test_every_variable_is_named_and_no_other() -> None:
    named = set(re.findall(r"AGENTMETRICS_DATADOG_([A-Z_]+)\b(?!_)", TEXT)) - {""}
    assert named == {*environment.VARIABLES}
    source = Path(environment.__file__).read_text()
    assert set(re.findall(r"\b(?:DD|DATADOG)_[A-Z_]+\b", source)) == set(
        re.findall(r"(?<!AGENTMETRICS_)\b(?:DD|DATADOG)_[A-Z_]+\b", TEXT)
    )
