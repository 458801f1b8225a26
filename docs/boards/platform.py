"""Platform: what is around the agents, from the requests that reach them to the machine."""

from __future__ import annotations

from typing import Any

from agentmetrics import catalog as c
from boards import infrastructure
from boards.board import board
from boards.panels import COUNT, bars, number, series
from boards.selectors import (
    ENDED,
    RANGE,
    highest,
    increase,
    mean,
    quantile,
    rate,
    ratio,
    ratio_by,
    total,
)
from boards.targets import unreachable


def make() -> dict[str, Any]:
    return board(
        "platform",
        "Platform",
        "What is around the agents: HTTP requests, tools, the database, background tasks, and the "
        "container or machine.",
        [
            ("Now", _now()),
            ("HTTP", _http()),
            ("Tools", _tools()),
            ("Database", infrastructure.database()),
            ("Background tasks", infrastructure.tasks()),
            ("Container or machine", infrastructure.machine()),
        ],
        chain=("agent_name",),
    )


def _now() -> list[Any]:
    return [
        number(
            "HTTP error rate",
            ratio(increase(c.HTTP_ERRORS), increase(c.HTTP_REQUESTS)),
            "percentunit",
            "Requests answered with a 5xx status.",
            steps=((0.01, "orange"), (0.05, "red")),
        ),
        number(
            "p95 request",
            quantile(0.95, c.HTTP_REQUEST_DURATION, over=RANGE),
            "s",
            "95th percentile of the duration of a request, streams excepted.",
            steps=((1, "orange"), (5, "red")),
        ),
        number(
            "Slow queries",
            increase(c.DB_SLOW_QUERIES),
            COUNT,
            "Database queries slower than the threshold.",
            steps=((1, "orange"),),
            empty="No queries",
        ),
        number(
            "Tasks waiting",
            f"sum({highest(c.CELERY_QUEUE_LENGTH, 'queue')})",
            COUNT,
            "In all queues.",
            steps=((100, "orange"), (1000, "red")),
            empty="No queues",
        ),
        number(
            "Application errors",
            increase(c.APPLICATION_ERRORS),
            COUNT,
            "Errors that the application recorded.",
            steps=((1, "orange"),),
            empty="None recorded",
        ),
        number(
            "Unreachable",
            unreachable(),
            COUNT,
            "Targets of the chosen jobs that Prometheus could not scrape.",
            steps=((1, "red"),),
        ),
    ]


def _http() -> list[Any]:
    route = ("method", "endpoint")
    named = "{{method}} {{endpoint}}"
    return [
        series(
            "Requests by status",
            {"{{status}}": rate(c.HTTP_REQUESTS, "status")},
            "reqps",
            "Requests that ended, per second.",
            stacked=True,
        ),
        series(
            "Error rate by endpoint",
            {named: ratio_by(rate(c.HTTP_ERRORS, *route), rate(c.HTTP_REQUESTS, *route))},
            "percentunit",
            "Requests answered with a 5xx status.",
        ),
        series(
            "p95 duration by endpoint",
            {named: quantile(0.95, c.HTTP_REQUEST_DURATION, *route)},
            "s",
            "Up to the last byte of the response, streams excepted.",
        ),
        series(
            "p95 time to the first byte",
            {named: quantile(0.95, c.HTTP_TIME_TO_FIRST_BYTE, *route)},
            "s",
            "By endpoint, streams included.",
        ),
        series(
            "Lifetime of streams",
            {named: quantile(0.95, c.HTTP_STREAM_DURATION, *route)},
            "s",
            "95th percentile by endpoint.",
        ),
        series(
            "Requests in progress",
            {"{{method}}": total(c.HTTP_REQUESTS_ACTIVE, "method")},
            "short",
            "At the time.",
        ),
        series(
            "Size of requests",
            {named: mean(c.HTTP_REQUEST_SIZE, *route)},
            "bytes",
            "Of the body, on average.",
            width=12,
        ),
        series(
            "Size of responses",
            {named: mean(c.HTTP_RESPONSE_SIZE, *route)},
            "bytes",
            "Of the body, on average.",
            width=12,
        ),
    ]


def _tools() -> list[Any]:
    by = "tool_name"
    good, ended = (increase(c.TOOL_EXECUTIONS, by, status=s) for s in ("success", ENDED))
    return [
        bars(
            "Tool success rate",
            f"sort({ratio_by(good, ended)})",
            "{{tool_name}}",
            "percentunit",
            "Successful executions among those that succeeded or failed, the worst first.",
            steps=((0, "red"), (0.8, "orange"), (0.95, "green")),
            maximum=1,
            empty="No tools",
        ),
        bars(
            "Five most used tools",
            f"topk(5, {increase(c.TOOL_EXECUTIONS, by)})",
            "{{tool_name}}",
            COUNT,
            "Executions in the time range.",
            empty="No tools",
        ),
        bars(
            "Five slowest tools",
            f"topk(5, {quantile(0.95, c.TOOL_EXECUTION_DURATION, by, over=RANGE)})",
            "{{tool_name}}",
            "s",
            "95th percentile of an execution.",
            empty="No tools",
        ),
    ]
