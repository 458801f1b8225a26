"""Alerts on prompts that are too long, and answers that are refused or cut off."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, share
from agentmetrics.operations.rules.recording import CALLS
from agentmetrics.operations.rules.samples import CALL, calls

_BY_MODEL = "job, agent_name, provider, model"
_OF_MODEL = {"job": "app", "agent_name": "planner", "provider": "openai", "model": "gpt-4o"}


def _errors(error_type: str, values: str) -> dict[str, str]:
    return {f'llm_errors_total{{{CALL}, error_type="{error_type}"}}': values}


def _answers(stop: str, finish_reason: str, others: str) -> dict[str, str]:
    name = "llm_finish_reasons_total"
    return {
        f'{name}{{{CALL}, finish_reason="stop"}}': stop,
        f'{name}{{{CALL}, finish_reason="{finish_reason}"}}': others,
    }


ALERTS = (
    Alert(
        name="ContextLengthExceeded",
        severity="warning",
        when="more than 5% of the calls of an agent to a model exceed its context length over "
        "30 minutes; with at least 10 calls",
        condition=share('llm_errors_total{error_type="context_length"}', CALLS, _BY_MODEL, "30m")
        + " > 0.05",
        floor=at_least(10, CALLS, _BY_MODEL, "30m"),
        for_="5m",
        labels=("job", "agent_name", "provider", "model"),
        board="agent",
        summary="{{ $labels.agent_name }} sends more than {{ $labels.model }} takes",
        description="{{ $value | humanizePercentage }} of the calls of {{ $labels.agent_name }} to "
        "{{ $labels.model }} exceeded its context length.",
        runbook=Runbook(
            means="Prompts are longer than the model takes, so the provider refuses them.",
            who_is_hurt="Users with long conversations or documents: their runs fail every time.",
            look_at={
                "Refused calls": "sum by (agent_name, model) "
                '(rate(llm_errors_total{error_type="context_length"}[5m]))',
                "Input tokens per call": "sum by (agent_name, model) "
                '(rate(llm_tokens_total{token_type="input"}[5m])) / sum by (agent_name, model) '
                '(rate(llm_calls_total{status="success"}[5m]))',
            },
            causes=(
                "A conversation or a scratchpad grows without bound.",
                "A tool or a retriever returns whole documents.",
                "A fallback model takes less than the first one.",
            ),
            do_now=(
                (
                    "Trim or summarise messages before the call, such as with LangChain's "
                    "`SummarizationMiddleware`."
                ),
                "Limit what tools and retrievers return.",
                "Switch to a model with a longer context.",
            ),
        ),
        fires=(
            Fires(
                {**calls(success=9, error=1), **_errors("context_length", "0+1x600")},
                "1h",
                _OF_MODEL,
                "10%",
            ),
        ),
        silent=(
            Silent(
                "one call in fifty is too long",
                {**calls(success=49, error=1), **_errors("context_length", "0+1x600")},
                "1h",
            ),
        ),
    ),
    Alert(
        name="AnswersRefused",
        severity="warning",
        when="more than 5% of the answers to an agent were filtered or refused over 30 minutes; "
        "with at least 10 answers",
        condition=share(
            'llm_finish_reasons_total{finish_reason=~"content_filter|refusal"}',
            "llm_finish_reasons_total",
            _BY_MODEL,
            "30m",
        )
        + " > 0.05",
        floor=at_least(10, "llm_finish_reasons_total", _BY_MODEL, "30m"),
        for_="5m",
        labels=("job", "agent_name", "provider", "model"),
        board="agent",
        summary="{{ $labels.model }} refuses to answer {{ $labels.agent_name }}",
        description="{{ $value | humanizePercentage }} of the answers of {{ $labels.model }} to "
        "{{ $labels.agent_name }} were filtered or refused.",
        runbook=Runbook(
            means="Calls succeed and are billed, and the model or a filter declines to answer.",
            who_is_hurt="Users, who get an excuse or half an answer.",
            look_at={
                "Answers by why they ended": "sum by (agent_name, model, finish_reason) "
                "(rate(llm_finish_reasons_total[15m]))",
                "Calls that a filter ended in an error": "sum by (agent_name, model) "
                '(rate(llm_errors_total{error_type="content_filter"}[15m]))',
            },
            causes=(
                "Somebody abuses the agent.",
                "A new prompt reads as something that it is not.",
                "The provider changed the model or its filter.",
            ),
            do_now=(
                "Look for users with many such answers in the application's own log.",
                steps.ROLL_BACK,
                steps.SWITCH_THE_MODEL,
            ),
        ),
        fires=(Fires(_answers("0+9x600", "refusal", "0+1x600"), "1h", _OF_MODEL, "10%"),),
        silent=(
            Silent("one answer in 25 is", _answers("0+24x600", "refusal", "0+1x600"), "1h"),
            Silent(
                "answers ended in tool calls", _answers("0+8x600", "tool_calls", "0+8x600"), "1h"
            ),
        ),
    ),
    Alert(
        name="AnswersCutOff",
        severity="warning",
        when="more than 10% of the answers to an agent reached the output limit over 30 minutes; "
        "with at least 10 answers",
        condition=share(
            'llm_finish_reasons_total{finish_reason="length"}',
            "llm_finish_reasons_total",
            _BY_MODEL,
            "30m",
        )
        + " > 0.1",
        floor=at_least(10, "llm_finish_reasons_total", _BY_MODEL, "30m"),
        for_="5m",
        labels=("job", "agent_name", "provider", "model"),
        board="agent",
        summary="Answers of {{ $labels.model }} to {{ $labels.agent_name }} are cut off",
        description="{{ $value | humanizePercentage }} of the answers of {{ $labels.model }} to "
        "{{ $labels.agent_name }} ended at the output limit.",
        runbook=Runbook(
            means="The model stopped at `max_tokens`, in the middle of its answer.",
            who_is_hurt="Users, who get half an answer; and agents whose JSON cannot be parsed, so "
            "that they ask again.",
            look_at={
                "Answers by why they ended": "sum by (agent_name, model, finish_reason) "
                "(rate(llm_finish_reasons_total[15m]))",
                "Output tokens per call": "sum by (agent_name, model) "
                '(rate(llm_tokens_total{token_type="output"}[15m])) / sum by (agent_name, model) '
                '(rate(llm_calls_total{status="success"}[15m]))',
            },
            causes=(
                "`max_tokens` is too low for the task, or counts reasoning too.",
                "The model repeats itself.",
                "A prompt asks for more than before.",
            ),
            do_now=(
                (
                    'Raise `max_tokens`, and mind budgets with `reserve = "max_tokens"`, which '
                    "then reserve more."
                ),
                "Ask for a shorter answer in the prompt, or lower the reasoning effort.",
                steps.ROLL_BACK,
            ),
        ),
        fires=(Fires(_answers("0+8x600", "length", "0+2x600"), "1h", _OF_MODEL, "20%"),),
        silent=(
            Silent("one answer in twenty is", _answers("0+19x600", "length", "0+1x600"), "1h"),
        ),
    ),
)
