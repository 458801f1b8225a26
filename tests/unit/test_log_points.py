"""The five log points of a call: at DEBUG alone, with labels and numbers and never any content."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    MemoryRecorder,
    MetricsCallbackHandler,
    track_call,
)
from tests.unit.scripted import Chat, answer

LABELS = "agent_name='planner' provider='openai' model='gpt-4o'"


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


@pytest.fixture
def config(recorder: MemoryRecorder) -> Any:
    return {"callbacks": [MetricsCallbackHandler(recorder, "planner")]}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "agentmetrics.calls"]


def test_a_call_logs_start_request_response_and_metrics(config, caplog) -> None:
    with caplog.at_level(logging.DEBUG, "agentmetrics.calls"):
        Chat(answers=[answer("the secret reply", (1000, 500))]).invoke("a secret", config=config)
    start, request, response, metrics = lines(caplog)
    assert start == f"start {LABELS}"
    assert request == f"request {LABELS}"
    assert response.startswith(f"response {LABELS} seconds=0.")
    assert response.endswith(" cached=false")
    assert metrics == (
        f"metrics {LABELS} status=success input_tokens=1000 output_tokens=500 cost_usd=0.0075"
    )
    assert "secret" not in caplog.text


def test_a_call_that_fails_logs_an_error_and_never_its_text(config, caplog) -> None:
    model = Chat(answers=[TimeoutError("a secret host")])
    with caplog.at_level(logging.DEBUG, "agentmetrics.calls"), pytest.raises(TimeoutError):
        model.invoke("a secret", config=config)
    assert [line.split()[0] for line in lines(caplog)] == ["start", "request", "error", "metrics"]
    assert "status=error error_type=timeout seconds=0." in lines(caplog)[2]
    assert lines(caplog)[3].endswith("input_tokens=unknown output_tokens=unknown cost_usd=unknown")
    assert "secret" not in caplog.text


def test_a_call_that_a_budget_refuses_logs_no_request(recorder, config, caplog) -> None:
    budgets = Budgets([Budget("team", 0, action="block")], recorder)
    with caplog.at_level(logging.DEBUG, "agentmetrics.calls"), pytest.raises(BudgetExceeded):
        Chat().invoke("x", config=config)
    assert lines(caplog) == [
        f"start {LABELS}",
        f"error {LABELS} error_type=budget_exceeded budget='team'",
    ]
    budgets.close()


def test_an_abandoned_call_logs_that_it_was_cancelled(recorder, caplog) -> None:
    with caplog.at_level(logging.DEBUG, "agentmetrics.calls"):
        track_call("openai", "gpt-4o", agent_name="planner", recorder=recorder).__enter__()
        recorder.value("llm_active_calls")
    assert "status=cancelled error_type=none" in lines(caplog)[2]


def test_a_hostile_name_stays_on_its_line(recorder, caplog) -> None:
    with caplog.at_level(logging.DEBUG, "agentmetrics.calls"):
        handler = MetricsCallbackHandler(recorder)
        hostile = {"agent_name": "a\nstart agent_name='b'"}
        Chat(model="m\r\nx").invoke("x", {"callbacks": [handler], "metadata": hostile})
    assert all("\n" not in line and "\r" not in line for line in lines(caplog))


def test_nothing_is_logged_or_marked_at_other_levels(config, caplog) -> None:
    with caplog.at_level(logging.INFO):
        Chat().invoke("x", config=config)
    assert lines(caplog) == []
