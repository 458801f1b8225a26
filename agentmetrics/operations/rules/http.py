"""Alerts on HTTP requests."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, quantile, share
from agentmetrics.operations.rules.samples import JOB, histogram

_ROUTE = f'{JOB}, method="POST", endpoint="/ask"'
_BY = "job, method, endpoint"
_OF = {"job": "app", "method": "POST", "endpoint": "/ask"}


def _requests(good: str, bad: str) -> dict[str, str]:
    return {
        f'http_requests_total{{{_ROUTE}, status="200"}}': good,
        f'http_requests_total{{{_ROUTE}, status="500"}}': bad,
        f'http_errors_total{{{_ROUTE}, status="500"}}': bad,
    }


ALERTS = (
    Alert(
        name="HTTPErrors",
        severity="critical",
        when="more than 5% of the requests to an endpoint are answered with a 5xx status over "
        "10 minutes; with at least 5 such requests",
        condition=share("http_errors_total", "http_requests_total", _BY, "10m") + " > 0.05",
        floor=at_least(5, "http_errors_total", _BY, "10m"),
        for_="5m",
        labels=("job", "method", "endpoint"),
        board="platform",
        summary="{{ $labels.method }} {{ $labels.endpoint }} fails",
        description="{{ $value | humanizePercentage }} of the requests {{ $labels.method }} "
        "{{ $labels.endpoint }} to {{ $labels.job }} were answered with a 5xx status.",
        runbook=Runbook(
            means="The service itself fails to answer requests.",
            who_is_hurt="Its users and callers.",
            look_at={
                "Errors by endpoint and status": "sum by (job, method, endpoint, status) "
                "(rate(http_errors_total[5m]))",
                "Failed agent runs": "sum by (agent_name) "
                '(rate(agent_runs_total{status="error"}[5m]))',
                "Failed database queries": "sum by (operation) (rate(db_errors_total[5m]))",
            },
            causes=(
                "An agent, a provider or the database behind the endpoint fails.",
                "A budget blocks: the endpoint does not handle `BudgetExceeded`.",
                "A deployment broke the endpoint.",
            ),
            do_now=(steps.ROLL_BACK, steps.SWITCH_THE_MODEL, steps.RESTART_THE_WORKER),
        ),
        fires=(Fires(_requests("0+9x60", "0+1x60"), "30m", _OF, "10%"),),
        silent=(
            Silent("one request in fifty fails", _requests("0+49x60", "0+1x60"), "30m"),
            Silent("the counters began anew", _requests("0+10x25 0+10x35", "9x25 0x35"), "30m"),
        ),
    ),
    Alert(
        name="HTTPSlow",
        severity="warning",
        when="the 95th percentile of the duration of an endpoint's requests is above 5 seconds "
        "over 10 minutes; with at least 20 requests; streams excepted",
        condition=quantile(0.95, "http_request_duration_seconds", _BY, "10m") + " > 5",
        floor=at_least(20, "http_request_duration_seconds_count", _BY, "10m"),
        for_="10m",
        labels=("job", "method", "endpoint"),
        board="platform",
        summary="{{ $labels.method }} {{ $labels.endpoint }} is slow",
        description="One in twenty requests {{ $labels.method }} {{ $labels.endpoint }} to "
        "{{ $labels.job }} takes longer than {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="Requests take long from their first byte to the last of the response.",
            who_is_hurt="Users who wait, and callers whose timeouts expire.",
            look_at={
                "p95 by endpoint": "histogram_quantile(0.95, sum by (method, endpoint, le) "
                "(rate(http_request_duration_seconds_bucket[5m])))",
                "Requests in progress": "sum by (job, method) (http_requests_active)",
                "Lag of the event loop, p99": "histogram_quantile(0.99, sum by (job, le) "
                "(rate(event_loop_lag_seconds_bucket[5m])))",
                "p95 of calls to models": "histogram_quantile(0.95, sum by (agent_name, le) "
                "(rate(llm_latency_seconds_bucket[5m])))",
            },
            causes=(
                "The endpoint waits for an agent: let it answer as a stream or a task.",
                "The event loop is blocked, or there are too few workers.",
                "The database is slow.",
            ),
            do_now=(
                "See what is slow behind it: models, tools, database or event loop.",
                "Start more workers.",
                steps.ROLL_BACK,
            ),
        ),
        fires=(
            Fires(
                histogram(
                    "http_request_duration_seconds", _ROUTE, {"5.0": 0, "10.0": 10, "+Inf": 10}
                ),
                "30m",
                _OF,
                "9.75s",
            ),
        ),
        silent=(
            Silent(
                "requests take under 5 seconds",
                histogram(
                    "http_request_duration_seconds", _ROUTE, {"2.5": 0, "5.0": 10, "+Inf": 10}
                ),
                "30m",
            ),
        ),
    ),
    Alert(
        name="HTTPFirstByteSlow",
        severity="warning",
        when="the 95th percentile of the time to the first byte of an endpoint's responses is "
        "above 5 seconds over 10 minutes; with at least 20 requests",
        condition=quantile(0.95, "http_time_to_first_byte_seconds", _BY, "10m") + " > 5",
        floor=at_least(20, "http_time_to_first_byte_seconds_count", _BY, "10m"),
        for_="10m",
        labels=("job", "method", "endpoint"),
        board="platform",
        summary="{{ $labels.method }} {{ $labels.endpoint }} begins to answer late",
        description="One in twenty responses of {{ $labels.method }} {{ $labels.endpoint }} "
        "({{ $labels.job }}) begins after {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="Responses, streams among them, begin long after the request.",
            who_is_hurt="Users who look at an empty page.",
            look_at={
                "p95 of the first byte": "histogram_quantile(0.95, sum by (method, endpoint, le) "
                "(rate(http_time_to_first_byte_seconds_bucket[5m])))",
                "p95 of the first token": "histogram_quantile(0.95, sum by (agent_name, model, le) "
                "(rate(llm_time_to_first_token_seconds_bucket[5m])))",
                "p95 of the wait for a connection to the database": "histogram_quantile(0.95, sum "
                "by (pool, le) (rate(db_checkout_wait_seconds_bucket[5m])))",
            },
            causes=(
                "The model begins late; `LLMFirstTokenBudgetBurnFast` fires too.",
                "Work is done before the stream begins, such as retrieval.",
                "Requests wait for a worker or a connection.",
            ),
            do_now=(
                "Send the first chunk before the slow work.",
                "Start more workers.",
                steps.SWITCH_THE_MODEL,
            ),
        ),
        fires=(
            Fires(
                histogram(
                    "http_time_to_first_byte_seconds", _ROUTE, {"5": 0, "10": 10, "+Inf": 10}
                ),
                "30m",
                _OF,
                "9.75s",
            ),
        ),
        silent=(
            Silent(
                "they begin within 5 seconds",
                histogram(
                    "http_time_to_first_byte_seconds", _ROUTE, {"2.5": 0, "5.0": 10, "+Inf": 10}
                ),
                "30m",
            ),
        ),
    ),
)
