"""Alerts on providers that fail or refuse calls."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, new, share
from agentmetrics.operations.rules.recording import CALLS
from agentmetrics.operations.rules.samples import CALL, JOB, calls

_BY_PROVIDER = "job, provider"
_OF_PROVIDER = {"job": "app", "provider": "openai"}
_ERRORS_BY_MODEL = "sum by (agent_name, provider, model, error_type) (rate(llm_errors_total[5m]))"


def _errors(error_type: str, values: str) -> dict[str, str]:
    return {f'llm_errors_total{{{CALL}, error_type="{error_type}"}}': values}


ALERTS = (
    Alert(
        name="ProviderFailing",
        severity="critical",
        when="more than 20% of the calls to a provider fail with timeouts, connection or server "
        "errors over 10 minutes; with at least 10 calls",
        condition=share(
            'llm_errors_total{error_type=~"timeout|connection|server_error"}',
            CALLS,
            _BY_PROVIDER,
            "10m",
        )
        + " > 0.2",
        floor=at_least(10, CALLS, _BY_PROVIDER, "10m"),
        for_="5m",
        labels=("job", "provider"),
        board="models",
        summary="{{ $labels.provider }} fails",
        description="{{ $value | humanizePercentage }} of the calls to {{ $labels.provider }} from "
        "{{ $labels.job }} ended in a timeout, a connection error or a server error.",
        runbook=Runbook(
            means="The provider does not answer, or answers with its own errors.",
            who_is_hurt="Users of every agent that calls this provider and has no fallback.",
            look_at={
                "Errors by type and model": _ERRORS_BY_MODEL,
                "Calls handed to another model": "sum by (intent, reason) "
                "(rate(model_fallbacks_total[5m]))",
            },
            causes=(
                "The provider has an outage.",
                "The network, a proxy or DNS between you and the provider fails.",
                "Timeouts of the client are shorter than the model takes.",
            ),
            do_now=(
                steps.CHECK_THE_PROVIDER,
                "Call the provider from the machine of the worker, with `curl`.",
                steps.SWITCH_THE_MODEL,
            ),
        ),
        fires=(
            Fires(
                {**calls(success=6, error=4), **_errors("server_error", "0+4x600")},
                "30m",
                _OF_PROVIDER,
                "40%",
            ),
        ),
        silent=(
            Silent(
                "one call in ten fails",
                {**calls(success=9, error=1), **_errors("timeout", "0+1x600")},
                "30m",
            ),
            Silent(
                "calls fail for the caller's own reasons",
                {**calls(success=6, error=4), **_errors("invalid_request", "0+4x600")},
                "30m",
            ),
        ),
    ),
    Alert(
        name="ProviderRateLimited",
        severity="warning",
        when="more than 5% of the calls to a provider hit its rate limit over 10 minutes; with at "
        "least 20 calls",
        condition=share('llm_errors_total{error_type="rate_limit"}', CALLS, _BY_PROVIDER, "10m")
        + " > 0.05",
        floor=at_least(20, CALLS, _BY_PROVIDER, "10m"),
        for_="5m",
        labels=("job", "provider"),
        board="models",
        summary="{{ $labels.provider }} limits the rate of calls",
        description="{{ $value | humanizePercentage }} of the calls to {{ $labels.provider }} from "
        "{{ $labels.job }} were refused by a rate limit.",
        runbook=Runbook(
            means="The account sends more requests or tokens per minute than the provider admits.",
            who_is_hurt="Users of all agents on the account: calls are retried, late, or fail.",
            look_at={
                "Calls refused, by agent and model": "sum by (agent_name, provider, model) "
                '(rate(llm_errors_total{error_type="rate_limit"}[5m]))',
                "Tokens per minute, by agent": "60 * sum by (agent_name, provider) "
                "(rate(llm_tokens_total[5m]))",
            },
            causes=(
                "One agent has more traffic than usual, or is in a loop.",
                "Retries without a pause make it worse.",
                "The account's tier is too low.",
            ),
            do_now=(
                (
                    "Find the agent that sends most, and stop it or lower its concurrency "
                    "(`max_concurrency` in LangChain's config)."
                ),
                steps.CAP_THE_BUDGET,
                steps.SWITCH_THE_MODEL,
                "Ask the provider for a higher limit.",
            ),
        ),
        fires=(
            Fires(
                {**calls(success=9, error=1), **_errors("rate_limit", "0+1x600")},
                "30m",
                _OF_PROVIDER,
                "10%",
            ),
        ),
        silent=(
            Silent(
                "one call in fifty is refused",
                {**calls(success=49, error=1), **_errors("rate_limit", "0+1x600")},
                "30m",
            ),
        ),
    ),
    Alert(
        name="ProviderRejectsKey",
        severity="critical",
        when="3 calls to a provider fail because of authentication in 15 minutes",
        condition="sum by (job, provider) ("
        + new('llm_errors_total{error_type="authentication"}', "15m")
        + ") >= 3",
        for_="0s",
        labels=("job", "provider"),
        board="models",
        summary="{{ $labels.provider }} rejects the key",
        description='{{ $value | printf "%.0f" }} calls to {{ $labels.provider }} from '
        "{{ $labels.job }} were refused because of authentication in 15 minutes.",
        runbook=Runbook(
            means="The provider does not accept the key, or the key may not use the model.",
            who_is_hurt="Users of every agent with this key: all of its calls fail until it is "
            "replaced. Retries do not help.",
            look_at={
                "Refused calls, by agent and model": "sum by (agent_name, provider, model) "
                '(increase(llm_errors_total{error_type="authentication"}[15m]))',
                "Calls that still succeed": "sum by (agent_name, provider) "
                '(rate(llm_calls_total{status="success"}[5m]))',
            },
            causes=(
                "The key was rotated, revoked or has expired.",
                "The account has no credit left.",
                "A deployment uses the key of another environment.",
            ),
            do_now=(
                "Try the key with `curl` from the machine of the worker.",
                "Replace the key in the secret store, and restart the workers.",
                steps.SWITCH_THE_MODEL,
            ),
        ),
        fires=(Fires(_errors("authentication", "_x20 3x100"), "25m", _OF_PROVIDER, "3"),),
        silent=(
            Silent("there were two", _errors("authentication", "_x20 2x100"), "25m"),
            Silent("they are of yesterday", _errors("authentication", "7x100"), "1h"),
            Silent(
                "the counter began anew after a restart",
                _errors("authentication", "5x30 0x70"),
                "35m",
            ),
        ),
    ),
    Alert(
        name="FallbacksHigh",
        severity="warning",
        when="more than 10% of the calls of a job are handed to another model over 15 minutes; "
        "with at least 20 calls",
        # by calls and not by selections, which exist only where there is a router
        condition=share("model_fallbacks_total", CALLS, "job", "15m") + " > 0.1",
        floor=at_least(20, CALLS, "job", "15m"),
        for_="5m",
        labels=("job",),
        board="models",
        summary="{{ $labels.job }} often falls back to another model",
        description="{{ $value | humanizePercentage }} of the calls of {{ $labels.job }} were "
        "handed to another model after one failed.",
        runbook=Runbook(
            means="The first choice of model fails often, and the second one answers.",
            who_is_hurt="Users wait longer; answers may be worse, or cost more.",
            look_at={
                "Fallbacks by reason": "sum by (intent, reason) (rate(model_fallbacks_total[5m]))",
                "Errors by type and model": _ERRORS_BY_MODEL,
                "Cost per hour by model": "3600 * sum by (provider, model) "
                "(rate(llm_cost_usd_total[15m]))",
            },
            causes=(
                "The provider of the first model fails or limits the rate.",
                "Its key or its name is wrong.",
            ),
            do_now=(
                steps.CHECK_THE_PROVIDER,
                (
                    "If it will last, make the second model the first: each fallback costs a "
                    "failed call."
                ),
            ),
        ),
        fires=(
            Fires(
                {
                    **calls(success=8, error=2),
                    f'model_fallbacks_total{{{JOB}, intent="chat", reason="timeout"}}': "0+2x600",
                },
                "30m",
                {"job": "app"},
                "20%",
            ),
        ),
        silent=(
            Silent(
                "one call in twenty falls back",
                {
                    **calls(success=19, error=1),
                    f'model_fallbacks_total{{{JOB}, intent="chat", reason="timeout"}}': "0+1x600",
                },
                "30m",
            ),
            Silent("no call ever fell back", calls(success=8, error=2), "30m"),
        ),
    ),
)
