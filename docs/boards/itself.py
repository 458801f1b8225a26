"""agentmetrics itself: whether the numbers on the other boards can be trusted."""

from __future__ import annotations

from typing import Any

from agentmetrics import catalog as c
from boards.board import board
from boards.panels import COUNT, number, series
from boards.selectors import increase, rate, ratio, sel, total
from boards.tables import Column, rows
from boards.targets import of_ours, unreachable

ANY_IS_WRONG = ((1, "red"),)
NO_LEDGER = "No ledger"
NONE = "None"


def make() -> dict[str, Any]:
    return board(
        "itself",
        "agentmetrics itself",
        "Whether the numbers on the other boards can be trusted: what agentmetrics did not "
        "understand, dropped, or has still to write, and whether Prometheus reaches it.",
        [
            ("Trust", _trust()),
            ("What it does", _doing()),
            ("Ledger", _ledger()),
            ("Versions and scrapes", _scrapes()),
        ],
    )


def _trust() -> list[Any]:
    return [
        number(
            "Unreachable",
            unreachable(),
            COUNT,
            "Targets of the chosen jobs that Prometheus could not scrape.",
            steps=ANY_IS_WRONG,
        ),
        number(
            "Handler errors",
            f"{increase(c.HANDLER_ERRORS)} or vector(0)",
            COUNT,
            "Events that could not be fully understood. Agents are not affected, their numbers "
            "may be.",
            steps=ANY_IS_WRONG,
        ),
        number(
            "Series dropped",
            f"{increase(c.SERIES_DROPPED)} or vector(0)",
            COUNT,
            "Label sets beyond `AGENTMETRICS_MAX_SERIES`, whose values became `other`.",
            steps=((1, "orange"),),
        ),
        number(
            "Packets dropped",
            f"{increase(c.PACKETS_DROPPED)} or vector(0)",
            COUNT,
            "StatsD packets that were not delivered.",
            steps=ANY_IS_WRONG,
        ),
        number(
            "Calls lost to the ledger",
            f"{increase(c.LEDGER_CALLS_LOST)} or vector(0)",
            COUNT,
            "Calls that never reached the ledger.",
            steps=ANY_IS_WRONG,
        ),
        number(
            "Failed ledger writes",
            ratio(increase(c.LEDGER_WRITES, status="error"), increase(c.LEDGER_WRITES)),
            "percentunit",
            "Attempts to write a batch that failed. The batch is kept and tried again.",
            steps=((0.01, "orange"), (0.5, "red")),
            empty=NO_LEDGER,
        ),
    ]


def _doing() -> list[Any]:
    return [
        series(
            "Open runs",
            {"{{kind}}": total(c.OPEN_RUNS, "kind")},
            "short",
            "Runs currently tracked: a line that only rises is runs whose end is never told.",
            width=6,
        ),
        series(
            "Handler errors",
            {"{{event}}": rate(c.HANDLER_ERRORS, "event")},
            "ops",
            "By event, per second.",
            width=6,
            empty=NONE,
        ),
        series(
            "Series dropped",
            {"{{metric}}": rate(c.SERIES_DROPPED, "metric")},
            "ops",
            "By metric, per second.",
            width=6,
            empty=NONE,
        ),
        series(
            "Packets dropped",
            {"{{backend}}": rate(c.PACKETS_DROPPED, "backend")},
            "ops",
            "By backend, per second.",
            width=6,
            empty=NONE,
        ),
    ]


def _ledger() -> list[Any]:
    return [
        series(
            "Writes",
            {"{{status}}": rate(c.LEDGER_WRITES, "status")},
            "ops",
            "Attempts to write a batch, per second.",
            stacked=True,
            empty=NO_LEDGER,
        ),
        series(
            "Rows waiting",
            {"{{instance}}": total(c.LEDGER_PENDING_ROWS, "instance")},
            "short",
            "To be written: they rise while the database is out of reach.",
            empty=NO_LEDGER,
        ),
        series(
            "Calls lost",
            {"{{reason}}": rate(c.LEDGER_CALLS_LOST, "reason")},
            "ops",
            "Per second: calls that never reached the ledger, by reason.",
            empty=NO_LEDGER,
        ),
        series(
            "Since the last write",
            {"{{instance}}": f"time() - max by (instance) ({sel(c.LEDGER_LAST_SUCCESS)})"},
            "s",
            "A process that makes calls writes every few seconds; one that makes none does not.",
            width=12,
            empty=NO_LEDGER,
        ),
        series(
            "Spool",
            {"{{instance}}": total(c.SPOOL_BYTES, "instance")},
            "bytes",
            "Room on disk of what is not in the database yet: it grows while that is out of reach.",
            width=12,
            empty=NO_LEDGER,
        ),
    ]


def _scrapes() -> list[Any]:
    labels = {"job": "Job", "instance": "Instance"}
    info = {**labels, "version": "agentmetrics"}
    service = {**labels, "service": "Service", "version": "Version", "backend": "Backend"}
    return [
        rows(
            "Versions of agentmetrics",
            info,
            {"Processes": Column(f"count by ({', '.join(info)}) ({sel(c.BUILD_INFO)})", COUNT)},
            "Which version runs where.",
            sort="agentmetrics",
            width=10,
            height=8,
        ),
        rows(
            "Services",
            service,
            {
                "Processes": Column(
                    f"count by ({', '.join(service)}) ({sel(c.SERVICE_INFO)})", COUNT
                )
            },
            "Which service runs where, in which version.",
            sort="Service",
            empty="Not set",
            width=14,
            height=8,
        ),
        rows(
            "Targets",
            labels,
            {
                "Up": Column(of_ours("up"), "bool_yes_no", ((0, "red"), (1, "green"))),
                "Scrape": Column(of_ours("scrape_duration_seconds"), "s"),
                "Samples": Column(of_ours("scrape_samples_scraped"), COUNT),
            },
            "What Prometheus scrapes, and how long it takes.",
            sort="Scrape",
            width=12,
            height=8,
        ),
        series(
            "Duration of scrapes",
            {"{{instance}}": of_ours("scrape_duration_seconds")},
            "s",
            "Of each target.",
            width=6,
        ),
        series(
            "Samples per scrape",
            {"{{instance}}": of_ours("scrape_samples_scraped")},
            "short",
            "Of each target: a line that only rises is a label with too many values.",
            width=6,
        ),
    ]
