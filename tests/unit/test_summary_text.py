"""Summaries as people see them: many agents, names of every script, terminals of every width."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agentmetrics import MemoryRecorder, NoopRecorder, record_call
from agentmetrics.catalog import LLM_CALLS
from agentmetrics.config.active import replaced
from agentmetrics.recording.values import Family
from agentmetrics.summary.text import cell_width

SCRIPTS = ("مساعد", "作家", "Γραφέας", "लेखक", "ผู้เขียน", "👩‍💻", "Zoë")


@pytest.fixture
def recorder() -> Iterator[MemoryRecorder]:
    with replaced(MemoryRecorder()) as recorder:
        yield recorder


class TestManyAgents:
    AGENTS = 5_000

    @pytest.fixture
    def recorder(self) -> MemoryRecorder:
        """With one call of each."""
        recorder = MemoryRecorder()
        calls = recorder.counter(LLM_CALLS)
        for number in range(self.AGENTS):
            calls.labels(f"agent-{number}", "openai", "gpt-4o", "success").inc(number + 1)
        return recorder

    def test_the_busiest_are_shown_and_how_many_more_there_are(
        self, recorder: MemoryRecorder
    ) -> None:
        summary = recorder.summary()
        assert len(summary.agents) == self.AGENTS
        lines = str(summary).splitlines()
        first = [line for line in lines if line.startswith("agent-")]
        assert len(first) == 40  # in two tables
        assert first[0].split()[:3] == ["agent-4999", "0", "5,000"]
        assert lines.count("... 4,980 more agents") == 2
        assert "12,502,500" in next(line for line in lines if line.startswith("total"))
        assert "4,980 more agents" in recorder._repr_html_()

    def test_all_are_there_for_who_asks(self, recorder: MemoryRecorder) -> None:
        text = recorder.summary().text(rows=None)
        assert "agent-0 " in text
        assert "more agents" not in text


class FromElsewhere(NoopRecorder):
    """A recorder whose label values nobody has cleaned."""

    def __init__(self, *agents: str) -> None:
        super().__init__()
        self.agents = agents

    def collect(self) -> list[Family]:
        series = [((agent, "openai", "gpt-4o", "success"), 1.0) for agent in self.agents]
        return [Family(LLM_CALLS, list(series))]


def test_a_name_is_no_command_to_a_terminal() -> None:
    text = str(FromElsewhere("\x1b[31mred", "a\u202eb", "two\nlines").summary())
    assert "\x1b" not in text
    assert "\\x1b[31mred" in text
    assert "a\\u202eb" in text
    assert "two\\x0alines" in text


def test_a_name_is_no_markup_in_a_notebook() -> None:
    html = FromElsewhere("<script>alert(1)</script>", '" onload="x', "\x1b[31mred")._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert '" onload' not in html
    assert "\\x1b[31mred" in html


@pytest.mark.parametrize("width", [40, 80, 120])
def test_names_of_every_script_fit_into_the_width(width: int, recorder: MemoryRecorder) -> None:
    for script in SCRIPTS:
        record_call("openai", script * 9, agent_name=script * 9, duration_seconds=1)
    text = recorder.summary().text(width)
    assert max(map(cell_width, text.splitlines())) <= width
    whole = text.replace("\n", "").replace(" ", "")
    assert all(script in whole for script in SCRIPTS[:3])


def test_numbers_are_never_cut(recorder: MemoryRecorder) -> None:
    record_call("openai", "gpt-4o", duration_seconds=1, input_tokens=1_234_567, output_tokens=1)
    assert "1,234,567" in recorder.summary().text(width=80)
    assert "3.0864" in recorder.summary().text(width=10)
