"""The report for programs and spreadsheets: JSON and CSV."""

from __future__ import annotations

import csv
import json
import sys

import typer

from agentmetrics.budget.ledger.tally import AMOUNTS
from agentmetrics.cli.console import visible
from agentmetrics.cli.cost.report import Report

_FORMULAS = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001
_BLANKS = ("\t", "\r", "\n")


def print_json(report: Report) -> None:
    """For programs."""
    found = {**report.summary.as_dict(), "budgets": [b.as_dict() for b in report.budgets]}
    typer.echo(json.dumps(found, indent=2))


def print_csv(report: Report) -> None:
    """For spreadsheets: a line for every step of time and set of labels; a cost that is not known
    is an empty cell."""
    summary = report.summary
    lines = csv.writer(sys.stdout, lineterminator="\n")
    lines.writerow(["start", "end", *summary.by, *AMOUNTS, "cost_usd"])
    for period in summary.periods:
        for values, amounts in period.groups.items():
            sums = amounts.as_dict()
            exact = f"{amounts.cost_usd:f}" if amounts.cost_is_known else None
            when = (period.start.isoformat(), period.end.isoformat())
            names = map(_as_text, values)
            lines.writerow([*when, *names, *(sums[name] for name in AMOUNTS), exact])


def _as_text(name: str) -> str:
    """A name as a cell that no spreadsheet takes for a formula.

    Which ones do is OWASP's list ("CSV Injection"), those of full width too; so is the apostrophe,
    which makes text of what follows it. JSON has names as they are.
    """
    seen = visible(name)
    return f"'{seen}" if name.lstrip().startswith(_FORMULAS) or name[:1] in _BLANKS else seen
