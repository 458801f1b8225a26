"""Recorders that show themselves: summaries, one line, HTML, data frames, and what is printed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from typing import Any

import pandas
import pytest

from agentmetrics import (
    Budget,
    CommonLabels,
    ConfigurationError,
    FanoutRecorder,
    MemoryRecorder,
    Metric,
    Namespace,
    NoopRecorder,
    Recorder,
    configure,
    get_recorder,
    print_summary,
    record_call,
    record_tool,
    track_run,
)
from agentmetrics.config.active import replaced
from agentmetrics.recording.values import Family
from agentmetrics.summary.at_exit import SummaryAtExit

NOTHING = "No agent run, LLM call or tool execution has been recorded."


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("COLUMNS", "80")
    with replaced(NoopRecorder()):
        yield


@pytest.fixture
def recorder() -> MemoryRecorder:
    recorder = MemoryRecorder()
    configure(recorder)
    return recorder


def work() -> None:
    """Two agents, three models, a tool."""
    with track_run("writer"):
        record_call("openai", "gpt-4o", duration_seconds=2, input_tokens=1000, output_tokens=100)
        record_tool("search", duration_seconds=0.2)
        record_tool("search", duration_seconds=0.2, status="error")
    with track_run("planner"):
        record_call("openai", "gpt-4o-mini", duration_seconds=0.7, input_tokens=4, output_tokens=3)
        record_call("openai", "gpt-4o-mini", duration_seconds=0.1, error_type="rate_limit")
        record_call("acme", "unheard-of", duration_seconds=20, input_tokens=7, output_tokens=5)


SETTINGS: dict[str, dict[str, Any]] = {
    "memory": {},
    "statsd": {"backend": "statsd", "statsd_flush_interval": 3600},
    "layers": {"backend": "memory", "namespace": "shop", "common_labels": "env=prod"},
    "several backends": {"backend": "noop,statsd,memory", "statsd_flush_interval": 3600},
    "extra labels": {"extra_labels": "tenant"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_every_recorder_that_keeps_values_says_what_each_agent_did(
    settings: dict[str, Any],
) -> None:
    configure(**settings)
    work()
    summary = get_recorder().summary()
    assert [agent.agent for agent in summary.agents] == ["writer", "planner"]
    writer, planner = summary.agents
    assert (writer.runs, writer.calls, writer.errors, writer.tool_executions) == (1, 1, 0, 2)
    assert (writer.input_tokens, writer.output_tokens) == (1000, 100)
    assert writer.cost_usd == pytest.approx(0.0035)
    assert writer.latency_p95 == pytest.approx(2.425)
    assert (planner.calls, planner.errors) == (3, 1)
    total = summary.total
    assert (total.runs, total.calls, total.errors, total.input_tokens) == (2, 4, 1, 1011)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_every_recorder_that_keeps_values_is_one_line(settings: dict[str, Any]) -> None:
    configure(**settings)
    work()
    said = repr(get_recorder())
    assert said.endswith(
        ": 2 agents, 4 calls (1 failed), 2 tool executions, 1,119 tokens, USD 0.003502>"
    )


def test_a_line_names_the_layers_and_the_backends() -> None:
    inner = FanoutRecorder([NoopRecorder(), MemoryRecorder()])
    said = repr(Namespace(CommonLabels(inner, {"env": "prod"}), "shop"))
    assert said == (
        "<Namespace of CommonLabels of FanoutRecorder of NoopRecorder and MemoryRecorder: "
        "no runs, calls or tools recorded>"
    )


def test_models_and_tools_have_numbers_of_their_own(recorder: MemoryRecorder) -> None:
    work()
    summary = recorder.summary()
    assert [(m.provider, m.model, m.calls, m.errors) for m in summary.models] == [
        ("openai", "gpt-4o", 1, 0),
        ("openai", "gpt-4o-mini", 2, 1),
        ("acme", "unheard-of", 1, 0),
    ]
    (tool,) = summary.tools
    assert (tool.tool, tool.executions, tool.errors, tool.active) == ("search", 2, 1, 0)
    assert tool.duration_p50 == pytest.approx(0.175)


def test_what_is_not_known_is_no_zero(recorder: MemoryRecorder) -> None:
    work()
    summary = recorder.summary()
    unheard_of = summary.models[-1]
    assert unheard_of.cost_usd is None
    assert unheard_of.unpriced_calls == 1
    assert unheard_of.first_token_p50 is None
    text = summary.text(width=120)
    assert [line.split()[6] for line in text.splitlines() if "unheard-of" in line] == ["unpriced"]
    assert "Not in the cost: 1 call with an unknown price." in text


def test_calls_without_token_counts_are_told(recorder: MemoryRecorder) -> None:
    record_call("openai", "gpt-4o", duration_seconds=1)
    assert "Not in tokens and cost: 1 call without token counts." in str(recorder.summary())


def test_a_metric_that_is_turned_off_is_told() -> None:
    configure(metrics_off="llm_latency_seconds,llm_cost_*")
    work()
    summary = get_recorder().summary()
    assert summary.turned_off == ("llm_cost_usd_total", "llm_latency_seconds")
    assert summary.total.latency_p50 is None
    said = " ".join(str(summary).split())
    assert said.endswith(
        "Turned off, so not in the tables: llm_cost_usd_total, llm_latency_seconds."
    )


def test_budgets_are_shown() -> None:
    configure(budgets=[Budget("team", 0.007)])
    work()
    (budget,) = get_recorder().summary().budgets
    assert (budget.budget, budget.period, budget.limit_usd) == ("team", "daily", 0.007)
    assert budget.spent_usd == pytest.approx(0.003502, abs=1e-6)
    assert "team    daily   0.007000  0.003502     50        0" in str(get_recorder().summary())


def test_a_summary_is_plain_data_that_nobody_changes(recorder: MemoryRecorder) -> None:
    work()
    summary = recorder.summary()
    told = json.loads(json.dumps(summary.as_dict()))
    assert [agent["agent"] for agent in told["agents"]] == ["writer", "planner"]
    assert told["total"]["calls"] == 4
    assert told["models"][2]["cost_usd"] is None
    with pytest.raises(FrozenInstanceError):
        summary.total.calls = 5  # type: ignore[misc]


def test_nothing_recorded_is_one_sentence(recorder: MemoryRecorder) -> None:
    summary = recorder.summary()
    assert not summary
    assert str(summary) == NOTHING
    assert NOTHING in summary._repr_html_()
    work()
    recorder.reset()
    assert str(recorder.summary()) == NOTHING


def test_a_recorder_that_keeps_nothing_says_so_everywhere() -> None:
    sentence = (
        "NoopRecorder keeps no values to read: use a MemoryRecorder, alone or as one of several "
        "backends"
    )
    recorder = NoopRecorder()
    with pytest.raises(NotImplementedError, match=sentence):
        recorder.summary()
    with pytest.raises(NotImplementedError, match=sentence):
        recorder.to_pandas()
    assert repr(recorder) == "<NoopRecorder: keeps no values to show>"
    assert recorder._repr_html_() == f"<p>{sentence}</p>"
    printed = io.StringIO()
    print_summary(recorder, file=printed)
    assert printed.getvalue() == f"{sentence}\n"


def test_a_line_raises_nothing() -> None:
    class Broken(MemoryRecorder):
        def collect(self) -> list[Family]:
            raise OSError("secret")

    class Unmade(MemoryRecorder):
        def __init__(self) -> None:
            pass

    assert repr(Broken()) == "<Broken: cannot be read: OSError>"
    assert repr(Unmade()) == "<Unmade: cannot be read: AttributeError>"


class TestPandas:
    def test_a_summary_is_a_frame(self, recorder: MemoryRecorder) -> None:
        work()
        frame = recorder.summary().to_pandas()
        assert list(frame["agent"]) == ["writer", "planner"]
        assert frame["calls"].sum() == 4
        models = recorder.summary().to_pandas("models")
        assert models.set_index("model")["errors"]["gpt-4o-mini"] == 1
        assert list(recorder.summary().to_pandas("budgets").columns)[:2] == ["budget", "period"]

    def test_a_word_that_is_no_subject_is_refused(self, recorder: MemoryRecorder) -> None:
        with pytest.raises(ValueError, match="has no 'agent': use one of agents, models, tools"):
            recorder.summary().to_pandas("agent")  # type: ignore[arg-type]

    def test_a_recorder_is_a_frame_with_a_row_for_each_series(
        self, recorder: MemoryRecorder
    ) -> None:
        work()
        frame = recorder.to_pandas()
        assert isinstance(frame, pandas.DataFrame)
        calls = frame[frame["metric"] == "llm_calls_total"]
        assert calls.groupby("agent_name")["value"].sum().to_dict() == {"planner": 3, "writer": 1}
        latency = frame[(frame["metric"] == "llm_latency_seconds")]
        assert latency["count"].sum() == 4
        assert latency.set_index("model")["p95"]["gpt-4o"] == pytest.approx(2.425)

    def test_a_label_that_has_the_name_of_a_column_is_kept_beside_it(self) -> None:
        recorder = MemoryRecorder()
        odd = Metric("odd_total", "counter", "Odd.", ("metric", "value"))
        recorder.counter(odd).labels("a", "b").inc(3)
        (row,) = recorder.to_pandas().to_dict("records")
        assert (row["metric"], row["metric_"], row["value_"], row["value"]) == (
            *("odd_total", "a", "b"),
            3.0,
        )

    def test_without_pandas_it_says_what_to_type(
        self, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pandas", None)
        asked: tuple[Callable[[], object], ...] = (
            recorder.to_pandas,
            recorder.summary().to_pandas,
        )
        for ask in asked:
            with pytest.raises(ModuleNotFoundError, match=r"'pandas': pip install pandas$"):
                ask()


class TestPrinting:
    def test_what_is_configured_is_printed_on_standard_output(
        self, recorder: MemoryRecorder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        work()
        print_summary()
        captured = capsys.readouterr()
        assert captured.out == f"{recorder.summary().text(80)}\n"
        assert captured.err == ""

    def test_a_recorder_is_printed_to_a_file(self, recorder: MemoryRecorder) -> None:
        work()
        file = io.StringIO()
        print_summary(recorder, file=file)
        assert file.getvalue().startswith("Calls by agent\n")

    def test_what_a_stream_cannot_carry_is_escaped_in_its_column(
        self, recorder: MemoryRecorder
    ) -> None:
        for agent in ("作家", "writer"):
            record_call("openai", "gpt-4o", agent_name=agent, duration_seconds=1)
        file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        print_summary(recorder, file=file)
        file.seek(0)
        lines = file.read().splitlines()[:6]
        assert lines[4].startswith("writer     ")
        assert lines[5].startswith("\\u4f5c\\u5bb6  ")
        assert len(lines[4]) == len(lines[5])

    def test_the_width_is_that_of_the_environment(
        self, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        work()
        monkeypatch.setenv("COLUMNS", "40")
        file = io.StringIO()
        print_summary(recorder, file=file)
        assert max(map(len, file.getvalue().splitlines())) <= 40

    def test_the_end_is_told_once_on_standard_error(
        self, recorder: MemoryRecorder, capsys: pytest.CaptureFixture[str]
    ) -> None:
        work()
        at_exit = SummaryAtExit(recorder)
        at_exit.close()
        at_exit.close()
        captured = capsys.readouterr()
        assert captured.err == f"{recorder.summary().text(80)}\n"
        assert captured.out == ""

    def test_a_program_without_standard_error_ends_like_any_other(
        self, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch, capsys
    ) -> None:
        monkeypatch.setattr(sys, "stderr", None)
        SummaryAtExit(recorder).close()
        assert capsys.readouterr().out == ""

    def test_a_program_without_standard_output_is_not_disturbed(
        self, recorder: MemoryRecorder, monkeypatch: pytest.MonkeyPatch, capsys
    ) -> None:
        monkeypatch.setattr(sys, "stdout", None)
        print_summary(recorder)
        assert capsys.readouterr() == ("", "")

    def test_a_summary_at_exit_without_a_flush_at_exit_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="nothing is printed at exit, as AGENTMETRICS"):
            configure(summary=True, flush_at_exit=False)


def test_a_recorder_of_ones_own_shows_itself_too() -> None:
    class Own(Recorder):
        bind_counter = bind_gauge = bind_histogram = NoopRecorder.bind_counter  # type: ignore
        observe_gauge = NoopRecorder.observe_gauge
        update = NoopRecorder.update

    assert repr(Own()) == "<Own: keeps no values to show>"


def test_half_a_millionth_is_rounded_as_the_ledger_rounds_it(recorder: MemoryRecorder) -> None:
    record_call("openai", "gpt-4o", duration_seconds=1, cost_usd=0.0021615)
    assert "0.002162" in recorder.summary().text(width=80)


def test_a_cost_of_next_to_nothing_is_not_shown_as_nothing(recorder: MemoryRecorder) -> None:
    record_call("openai", "gpt-4o", duration_seconds=1, cost_usd=2000)
    record_call("openai", "gpt-4o-mini", duration_seconds=1, cost_usd=0.001)
    (row,) = (line for line in str(recorder.summary()).splitlines() if line.startswith("gpt-4o-m"))
    assert "<0.01" in row
