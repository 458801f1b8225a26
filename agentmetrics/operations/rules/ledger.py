"""Alerts on the ledger."""

from __future__ import annotations

from agentmetrics.operations.rules.alert import Alert, Fires, Runbook, Silent
from agentmetrics.operations.rules.promql import new
from agentmetrics.operations.rules.samples import JOB

_OF = {"job": "app"}
_WRITES = "agentmetrics_ledger_writes_total"
_REACHABLE = (
    "See whether the database is reachable from the worker, and whether its disk is full and its "
    "password still valid."
)
_LEDGER_LOOK_AT = {
    "Writes by success": "sum by (job, status) (rate(agentmetrics_ledger_writes_total[5m]))",
    "Rows that wait": "sum by (job) (agentmetrics_ledger_pending_rows)",
}


def _dropped(metric: str, labels: str, values: str) -> dict[str, str]:
    return {f"{metric}{{{JOB}{labels}}}": values}


ALERTS = (
    Alert(
        name="LedgerUnreachable",
        severity="critical",
        when="a process of a job writes nothing to the ledger, and fails to, for 10 minutes",
        condition="count by (job) (\n"
        "sum by (job, instance) ("
        + new(f'{_WRITES}{{status="error"}}', "10m")
        + ") > 0\nunless on (job, instance)\n"
        f'sum by (job, instance) (increase({_WRITES}{{status="success"}}[10m])) > 0\n)',
        for_="5m",
        labels=("job",),
        board="itself",
        summary="{{ $labels.job }} cannot write to the ledger",
        description="Processes of {{ $labels.job }} that cannot write to the ledger: "
        '{{ $value | printf "%.0f" }}.',
        runbook=Runbook(
            means="The database is down or refuses writes. Calls wait in memory, and are written "
            "when it is back.",
            who_is_hurt="Budgets know only what each process spent itself. With "
            "`AGENTMETRICS_ON_LEDGER_ERROR=block`, users too: blocking budgets refuse calls.",
            look_at=_LEDGER_LOOK_AT,
            causes=(
                "The database is down, full, or its password was changed.",
                "A migration or a long transaction holds a lock.",
                "SQLite on a file system that is read-only, or shared over a network.",
            ),
            do_now=(
                _REACHABLE,
                (
                    "Do not restart workers: a program that ends while the database is unreachable "
                    "loses what is pending after ten seconds."
                ),
                (
                    "If budgets block everything, set `AGENTMETRICS_ON_LEDGER_ERROR=allow` for new "
                    "workers."
                ),
            ),
        ),
        fires=(
            Fires(
                {
                    f'{_WRITES}{{{JOB}, status="error"}}': "0+2x60",
                    f'{_WRITES}{{{JOB}, status="success"}}': "7x60",
                    f'{_WRITES}{{job="app", instance="b:9464", status="success"}}': "0+12x60",
                },
                "30m",
                _OF,
                "1",
            ),
        ),
        silent=(
            Silent(
                "there is nothing to write",
                {
                    f'{_WRITES}{{{JOB}, status="error"}}': "0x60",
                    f'{_WRITES}{{{JOB}, status="success"}}': "5x60",
                },
                "30m",
            ),
            Silent(
                "some writes succeed",
                {
                    f'{_WRITES}{{{JOB}, status="error"}}': "0+2x60",
                    f'{_WRITES}{{{JOB}, status="success"}}': "0+10x60",
                },
                "30m",
            ),
        ),
    ),
    Alert(
        name="LedgerBacklog",
        severity="warning",
        when="more than 1000 rows wait to be written to the ledger, and their number grows",
        condition="sum by (job) (agentmetrics_ledger_pending_rows) > 1000\n"
        "and sum by (job) (deriv(agentmetrics_ledger_pending_rows[15m])) > 0",
        for_="5m",
        labels=("job",),
        board="itself",
        summary="Rows for the ledger pile up in {{ $labels.job }}",
        description='{{ $value | printf "%.0f" }} rows of {{ $labels.job }} wait to be written to '
        "the ledger.",
        runbook=Runbook(
            means="Calls end faster than they are written. Beyond 20,000 rows, new names become "
            "`other`.",
            who_is_hurt="Budgets across processes, which see spend late.",
            look_at=_LEDGER_LOOK_AT,
            causes=(
                "The database is slow or unreachable; `LedgerUnreachable` fires too.",
                "An extra label has very many values, each of which is a row.",
            ),
            do_now=(
                _REACHABLE,
                "Look for locks and slow statements in the database.",
                "Take labels with many values out of `AGENTMETRICS_EXTRA_LABELS`.",
            ),
        ),
        fires=(
            Fires(_dropped("agentmetrics_ledger_pending_rows", "", "0+100x60"), "30m", _OF, "3000"),
        ),
        silent=(
            Silent(
                "few rows wait",
                _dropped("agentmetrics_ledger_pending_rows", "", "0+20x60"),
                "30m",
            ),
            Silent(
                "it becomes less",
                _dropped("agentmetrics_ledger_pending_rows", "", "6000-10x40"),
                "30m",
            ),
        ),
    ),
    Alert(
        name="LedgerCallsLost",
        severity="critical",
        when="a call was lost before it reached the ledger in the last hour",
        condition=f"sum by (job) ({new('agentmetrics_ledger_calls_lost_total', '1h')}) > 0",
        for_="0s",
        labels=("job",),
        board="itself",
        summary="The ledger lacks calls of {{ $labels.job }}",
        description="Calls of {{ $labels.job }} that never reached the ledger: "
        '{{ $value | printf "%.0f" }} in the last hour.',
        runbook=Runbook(
            means="The ledger's totals are too low by the cost of these calls.",
            who_is_hurt="Your bill: budgets and reports leave these calls out.",
            look_at={
                "Calls lost, by reason": "sum by (job, reason) "
                "(increase(agentmetrics_ledger_calls_lost_total[1h]))",
                **_LEDGER_LOOK_AT,
            },
            causes=(
                "`database_away`: a program without a spool ended while the database was away.",
                "`unanswered`: the same, where the database may have them after all.",
                "`closed`: calls that ended at a ledger that the program had closed.",
                "`not_spooled`: a process was killed whose spool had no room on disk.",
                "`torn`, `unreadable`: what a killed process left was damaged on the disk.",
                "`too_old`: it was left for longer than 90 days.",
                "`unwritable`: numbers that no database can hold.",
            ),
            do_now=(
                _REACHABLE,
                (
                    "Take the missing cost from the counters: "
                    "`sum(increase(llm_cost_usd_total[1h]))` beside `agentmetrics cost`."
                ),
                "Do not restart workers until the database is back.",
            ),
        ),
        fires=(
            Fires(
                _dropped("agentmetrics_ledger_calls_lost_total", "", "_x20 12x90"),
                "30m",
                _OF,
                "12",
            ),
        ),
        silent=(
            Silent(
                "none were lost",
                _dropped("agentmetrics_ledger_calls_lost_total", "", "0x90"),
                "60m",
            ),
        ),
    ),
)
