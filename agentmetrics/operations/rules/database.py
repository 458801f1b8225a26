"""Alerts on the database of the application."""

from __future__ import annotations

from agentmetrics.operations.rules import steps
from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import at_least, quantile, share
from agentmetrics.operations.rules.samples import JOB, histogram

_OPERATION = f'{JOB}, operation="select"'
_BY = "job, operation"
_OF = {"job": "app", "operation": "select"}
_POOL = f'{JOB}, pool="main"'
_OF_POOL = {"job": "app", "pool": "main"}
_POOL_LOOK_AT = {
    "Connections in use": "sum by (job, pool) (db_connections_active)",
    "Connections that a pool may open": "sum by (job, pool) (db_connections_max)",
    "Idle connections": "sum by (job, pool) (db_connections_idle)",
}


def _queries(all_: str, **some: str) -> dict[str, str]:
    named = {"queries": all_, **some}
    return {f"db_{name}_total{{{_OPERATION}}}": values for name, values in named.items()}


ALERTS = (
    Alert(
        name="DatabaseErrors",
        severity="critical",
        when="more than 5% of the database queries of one kind fail over 10 minutes; with at least "
        "5 such queries",
        condition=share("db_errors_total", "db_queries_total", _BY, "10m") + " > 0.05",
        floor=at_least(5, "db_errors_total", _BY, "10m"),
        for_="5m",
        labels=("job", "operation"),
        board="platform",
        summary="Database queries of {{ $labels.job }} fail",
        description="{{ $value | humanizePercentage }} of the queries {{ $labels.operation }} of "
        "{{ $labels.job }} failed.",
        runbook=Runbook(
            means="The database refuses statements, or the connection to it breaks. With the "
            "operation `connect`, no connection could be had: the database is away, or the pool "
            "is empty.",
            who_is_hurt="Users of whatever needs the database.",
            look_at={
                "Failed queries": "sum by (job, operation) (rate(db_errors_total[5m]))",
                **_POOL_LOOK_AT,
            },
            causes=(
                "The database restarts, is full, or has no connections left.",
                "A migration is missing, or came before the code that fits it.",
                "Deadlocks or statement timeouts.",
            ),
            do_now=(
                "Read the database's log.",
                steps.ROLL_BACK,
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(Fires(_queries("0+10x60", errors="0+1x60"), "30m", _OF, "10%"),),
        silent=(Silent("three in a hundred fail", _queries("0+100x60", errors="0+3x60"), "30m"),),
    ),
    Alert(
        name="DatabaseSlowQueries",
        severity="warning",
        when="more than 5% of the database queries of one kind are slow over 15 minutes; with at "
        "least 20 queries",
        condition=share("db_slow_queries_total", "db_queries_total", _BY, "15m") + " > 0.05",
        floor=at_least(20, "db_queries_total", _BY, "15m"),
        for_="5m",
        labels=("job", "operation"),
        board="platform",
        summary="Database queries of {{ $labels.job }} are slow",
        description="{{ $value | humanizePercentage }} of the queries {{ $labels.operation }} of "
        "{{ $labels.job }} took longer than the threshold for slow queries.",
        runbook=Runbook(
            means="The database takes longer than the threshold that the plugin was given.",
            who_is_hurt="Users who wait, and other queries that wait for locks.",
            look_at={
                "Slow queries": "sum by (job, operation) (rate(db_slow_queries_total[5m]))",
                "p95 by operation": "histogram_quantile(0.95, sum by (job, operation, le) "
                "(rate(db_query_duration_seconds_bucket[5m])))",
            },
            causes=(
                "An index is missing, or the planner no longer uses it.",
                "Locks of a long transaction.",
                "The database's machine is busy.",
            ),
            do_now=(
                "Look at `pg_stat_activity` for what runs and what waits.",
                "End the transaction that blocks the others.",
                steps.ROLL_BACK,
            ),
        ),
        fires=(Fires(_queries("0+10x60", slow_queries="0+1x60"), "30m", _OF, "10%"),),
        silent=(
            Silent("three in a hundred are", _queries("0+100x60", slow_queries="0+3x60"), "30m"),
        ),
    ),
    Alert(
        name="DatabasePoolExhausted",
        severity="critical",
        when="more than 90% of the connections that a pool may open are in use",
        # a pool without a limit has a maximum of 0
        condition="max by (job, pool) (db_connections_active / (db_connections_max > 0)) > 0.9",
        for_="5m",
        labels=("job", "pool"),
        board="platform",
        summary="The pool {{ $labels.pool }} of {{ $labels.job }} is nearly exhausted",
        description="{{ $value | humanizePercentage }} of the connections of the pool "
        "{{ $labels.pool }} of {{ $labels.job }} are in use.",
        runbook=Runbook(
            means="Soon, whoever needs a connection waits for one.",
            who_is_hurt="Users, whose requests wait and then fail with a timeout of the pool.",
            look_at={
                **_POOL_LOOK_AT,
                "p95 of the wait": "histogram_quantile(0.95, sum by (job, pool, le) "
                "(rate(db_checkout_wait_seconds_bucket[5m])))",
            },
            causes=(
                "A session is held while an agent calls a model.",
                "Sessions are not closed.",
                "Slow queries hold connections.",
            ),
            do_now=(
                steps.RESTART_THE_WORKER,
                "Raise `pool_size` and `max_overflow`, as far as the database allows.",
                "Give connections back before a call to a model.",
            ),
        ),
        fires=(
            Fires(
                {
                    f"db_connections_active{{{_POOL}}}": "19x60",
                    f"db_connections_max{{{_POOL}}}": "20x60",
                },
                "30m",
                _OF_POOL,
                "95%",
            ),
        ),
        silent=(
            Silent(
                "there are some left",
                {
                    f"db_connections_active{{{_POOL}}}": "15x60",
                    f"db_connections_max{{{_POOL}}}": "20x60",
                },
                "30m",
            ),
            Silent(
                "the pool has no limit",
                {
                    f"db_connections_active{{{_POOL}}}": "15x60",
                    f"db_connections_max{{{_POOL}}}": "0x60",
                },
                "30m",
            ),
        ),
    ),
    Alert(
        name="DatabaseCheckoutSlow",
        severity="warning",
        when="the 95th percentile of the wait for a connection is above 1 second over 10 minutes; "
        "with at least 20 checkouts",
        condition=quantile(0.95, "db_checkout_wait_seconds", "job, pool", "10m") + " > 1",
        floor=at_least(20, "db_checkout_wait_seconds_count", "job, pool", "10m"),
        for_="5m",
        labels=("job", "pool"),
        board="platform",
        summary="{{ $labels.job }} waits for connections of the pool {{ $labels.pool }}",
        description="One in twenty checkouts from the pool {{ $labels.pool }} of {{ $labels.job }} "
        "takes longer than {{ $value | humanizeDuration }}.",
        runbook=Runbook(
            means="Connections are not given back as fast as they are wanted, or new ones take "
            "long to open.",
            who_is_hurt="Users, whose requests wait before any query is sent.",
            look_at={
                "p95 of the wait": "histogram_quantile(0.95, sum by (job, pool, le) "
                "(rate(db_checkout_wait_seconds_bucket[5m])))",
                **_POOL_LOOK_AT,
            },
            causes=(
                "The pool is exhausted; `DatabasePoolExhausted` fires too.",
                "The database is slow to accept connections.",
            ),
            do_now=(
                "Raise `pool_size` and `max_overflow`, as far as the database allows.",
                "Give connections back before a call to a model.",
                steps.RESTART_THE_WORKER,
            ),
        ),
        fires=(
            Fires(
                histogram("db_checkout_wait_seconds", _POOL, {"1.0": 0, "2.5": 10, "+Inf": 10}),
                "30m",
                _OF_POOL,
                "2.425s",
            ),
        ),
        silent=(
            Silent(
                "they wait for less",
                histogram("db_checkout_wait_seconds", _POOL, {"0.5": 0, "1.0": 10, "+Inf": 10}),
                "30m",
            ),
        ),
    ),
)
