"""Calls that failed after they were billed: the error carries the response."""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from agentmetrics import (
    Budget,
    BudgetExceeded,
    Budgets,
    Ledger,
    MemoryRecorder,
    record_call,
    track_call,
)

BODY = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1760000100,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": "{"}}
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 4096, "total_tokens": 4196},
}
COST = 100 * 2.5e-6 + 4096 * 10e-6


def cut() -> openai.LengthFinishReasonError:
    return openai.LengthFinishReasonError(completion=ChatCompletion.model_validate(BODY))


class CarryingError(Exception):
    """Somebody's error, with what it carries as attributes."""

    def __init__(self, **carried: Any) -> None:
        super().__init__()
        self.__dict__.update(carried)


class RaisingError(Exception):
    @property
    def completion(self) -> Any:
        raise RuntimeError


@pytest.fixture
def recorder() -> MemoryRecorder:
    return MemoryRecorder()


def failed(recorder: MemoryRecorder, error: Exception) -> None:
    with (
        pytest.raises(type(error)),
        track_call("openai", "gpt-4o", agent_name="writer", recorder=recorder),
    ):
        raise error


CARRIED = {
    "the completion of OpenAI's SDK": cut(),
    "the same of a filtered one": openai.ContentFilterFinishReasonError(
        completion=ChatCompletion.model_validate(BODY)
    ),
    "Instructor's last completion": CarryingError(last_completion=BODY),
    "a body that could not be validated": CarryingError(body=BODY),
    "a raw response that was read": CarryingError(
        raw_response=SimpleNamespace(headers={}, _content=str(BODY).replace("'", '"').encode())
    ),
}


@pytest.mark.parametrize("what", CARRIED)
def test_an_error_that_carries_a_response_has_its_tokens_and_cost(
    what: str, recorder: MemoryRecorder
) -> None:
    failed(recorder, CARRIED[what])
    assert recorder.value("llm_calls_total", status="error") == 1
    assert recorder.value("llm_tokens_total", token_type="input") == 100
    assert recorder.value("llm_tokens_total", token_type="output") == 4096
    assert recorder.value("llm_cost_usd_total") == pytest.approx(COST)
    assert recorder.value("llm_served_calls_total", served_model="gpt-4o-2024-08-06") == 1


@pytest.mark.parametrize(
    "error",
    [
        openai.ContentFilterFinishReasonError(),
        CarryingError(completion=None),
        CarryingError(body={"error": {"message": "no"}}),
        CarryingError(response="text"),
        CarryingError(response=SimpleNamespace(headers={})),  # not read: and never read here
        CarryingError(completion=7),
        RaisingError(),
        ValueError(),
    ],
    ids=repr,
)
def test_an_error_without_a_response_is_a_call_without_tokens(
    error: Exception, recorder: MemoryRecorder
) -> None:
    failed(recorder, error)
    assert recorder.value("llm_calls_total", status="error") == 1
    assert recorder.value("llm_tokens_total") == 0
    assert recorder.value("agentmetrics_handler_errors_total") == 0


def test_what_was_recorded_of_the_call_stands(recorder: MemoryRecorder) -> None:
    with (
        suppress(openai.LengthFinishReasonError),
        track_call("openai", "gpt-4o", recorder=recorder) as call,
    ):
        call.record_usage(10, 5)
        raise cut()
    assert recorder.value("llm_tokens_total") == 15


def test_a_usage_that_cannot_be_is_left_out_of_an_error_too(recorder: MemoryRecorder) -> None:
    usage = {"prompt_tokens": 100, "completion_tokens": 5, "total_tokens": 7}
    failed(recorder, CarryingError(completion={**BODY, "usage": usage}))
    assert recorder.value("llm_tokens_total") == 105
    assert recorder.value("llm_cost_usd_total") == 0
    assert recorder.value("agentmetrics_handler_errors_total") == 1


def test_an_error_that_is_told_afterwards_has_its_bill(recorder: MemoryRecorder) -> None:
    record_call("openai", "gpt-4o", error_type=cut(), duration_seconds=1, recorder=recorder)
    assert recorder.value("llm_calls_total", status="error") == 1
    assert recorder.value("llm_cost_usd_total") == pytest.approx(COST)


def test_a_budget_and_the_ledger_have_it_too(recorder: MemoryRecorder, tmp_path: Path) -> None:
    with closing(Ledger(f"sqlite:///{tmp_path / 'spend.db'}")) as ledger:
        ledger.attach(recorder)
        budget = Budget("team", COST, action="block")
        with closing(Budgets([budget], recorder, ledger=ledger)):
            failed(recorder, cut())
            assert budget.status().spent_usd == pytest.approx(COST)
            with pytest.raises(BudgetExceeded), track_call("openai", "gpt-4o", recorder=recorder):
                raise AssertionError("it was let through")
        ledger.flush()
        assert float(ledger.summary("daily").total.cost_usd) == pytest.approx(COST)
