"""The lower rows of the Platform board: the database, background tasks, the machine."""

from __future__ import annotations

from typing import Any

from agentmetrics import catalog as c
from boards.panels import bars, heat_map, series
from boards.selectors import (
    ENDED,
    buckets,
    highest,
    quantile,
    rate,
    ratio_by,
    total,
)

FULL = ((80, "orange"), (95, "red"))
"""Percent."""


def database() -> list[Any]:
    by, pool = "operation", "pool"
    used = f"{total(c.DB_CONNECTIONS_ACTIVE, pool)} / ({total(c.DB_CONNECTIONS_MAX, pool)} > 0)"
    return [
        series(
            "Queries",
            {"{{operation}}": rate(c.DB_QUERIES, by)},
            "ops",
            "Per second.",
            width=6,
            stacked=True,
        ),
        series(
            "Failed queries",
            {"{{operation}}": ratio_by(rate(c.DB_ERRORS, by), rate(c.DB_QUERIES, by))},
            "percentunit",
            "Share of the queries.",
            width=6,
        ),
        series(
            "Slow queries",
            {"{{operation}}": rate(c.DB_SLOW_QUERIES, by)},
            "ops",
            "Slower than the threshold, per second.",
            width=6,
        ),
        series(
            "p95 duration of queries",
            {"{{operation}}": quantile(0.95, c.DB_QUERY_DURATION, by)},
            "s",
            "By operation.",
            width=6,
        ),
        series(
            "Pool in use",
            {"{{pool}}": used},
            "percentunit",
            "Connections checked out, of all that the pool opens: at 100%, the next one waits.",
            maximum=1,
        ),
        series(
            "Idle connections",
            {"{{pool}}": total(c.DB_CONNECTIONS_IDLE, pool)},
            "short",
            "Open, and in the pool.",
        ),
        series(
            "Wait for a connection",
            {"{{pool}}": quantile(0.95, c.DB_CHECKOUT_WAIT, pool)},
            "s",
            "95th percentile.",
        ),
    ]


def tasks() -> list[Any]:
    by = "task_name"
    failed, ended = (rate(c.CELERY_TASKS, by, status=s) for s in ("error", ENDED))
    return [
        series(
            "Tasks by ending",
            {"{{status}}": rate(c.CELERY_TASKS, "status")},
            "ops",
            "Per second.",
            stacked=True,
        ),
        series(
            "Failed tasks",
            {"{{task_name}}": ratio_by(failed, ended)},
            "percentunit",
            "Among those that succeeded or failed; a retry is neither.",
        ),
        series(
            "Retries",
            {"{{task_name}}": rate(c.CELERY_TASK_RETRIES, by)},
            "ops",
            "Tasks sent to be tried again, per second.",
        ),
        series(
            "Tasks waiting",
            {"{{queue}}": highest(c.CELERY_QUEUE_LENGTH, "queue")},
            "short",
            "In each queue.",
            width=6,
        ),
        series(
            "Wait for a worker",
            {"{{task_name}}": quantile(0.95, c.CELERY_TASK_WAIT, by)},
            "s",
            "From when a task was due to its start, 95th percentile.",
            width=6,
        ),
        series(
            "Duration of tasks",
            {"{{task_name}}": quantile(0.95, c.CELERY_TASK_DURATION, by)},
            "s",
            "95th percentile.",
            width=6,
        ),
        series(
            "Tasks in progress",
            {"{{task_name}}": total(c.CELERY_TASKS_ACTIVE, by)},
            "short",
            "At the time.",
            width=6,
        ),
    ]


def machine() -> list[Any]:
    by, named = "instance", "{{instance}}"
    errors = rate(c.APPLICATION_ERRORS, "error_type", "component")
    return [
        series(
            "CPU",
            {named: highest(c.SYSTEM_CPU_PERCENT, by)},
            "percent",
            "In use, relative to the limit of the container.",
            width=6,
        ),
        series(
            "Memory",
            {named: highest(c.SYSTEM_MEMORY_PERCENT, by)},
            "percent",
            "In use, relative to the limit.",
            width=6,
        ),
        series(
            "Memory in use and its limit",
            {
                f"{named} used": highest(c.SYSTEM_MEMORY_USED, by),
                f"{named} limit": highest(c.SYSTEM_MEMORY_LIMIT, by),
            },
            "bytes",
            "In bytes.",
            width=6,
        ),
        series(
            "CPU limit",
            {named: highest(c.SYSTEM_CPU_LIMIT, by)},
            "short",
            "Cores that the container or machine may use.",
            width=6,
        ),
        bars(
            "Disk",
            highest(c.SYSTEM_DISK_PERCENT, by),
            named,
            "percent",
            "In use.",
            steps=FULL,
            maximum=100,
            empty="Not measured",
            width=6,
        ),
        series(
            "Disk in use",
            {named: highest(c.SYSTEM_DISK_USED, by)},
            "bytes",
            "In bytes.",
            width=6,
        ),
        heat_map(
            "Lag of the event loop",
            buckets(c.EVENT_LOOP_LAG),
            "s",
            "How late a loop runs what is due: much of it is code that blocks the loop.",
            width=6,
        ),
        series(
            "CPU of the processes",
            {named: rate(c.SYSTEM_PROCESS_CPU, by)},
            "short",
            "Cores, over all processes of an instance.",
            width=6,
        ),
        series(
            "Memory of the processes",
            {named: total(c.SYSTEM_PROCESS_MEMORY, by)},
            "bytes",
            "Resident; what several processes share counts in each.",
            width=6,
        ),
        series(
            "Threads of the processes",
            {named: total(c.SYSTEM_PROCESS_THREADS, by)},
            "short",
            "At the time.",
            width=6,
        ),
        series(
            "Open files of the processes",
            {named: total(c.SYSTEM_PROCESS_OPEN_FDS, by)},
            "short",
            "Files and sockets; a number that only grows is a leak.",
            width=6,
        ),
        series(
            "Errors of the application",
            {"{{component}} {{error_type}}": errors},
            "ops",
            "As it records them, per second.",
            width=6,
            stacked=True,
        ),
    ]
