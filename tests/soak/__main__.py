"""``make soak``: random ends, and databases that come and go. Ends with 1 if a ledger is wrong."""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.services.postgres import PostgresServer
from tests.soak.soak import Report, Soak
from tests.soak.trouble import postgresql, sqlite


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10_000))
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    options = parser.parse_args()

    def tell(what: str) -> None:
        print(what, file=sys.stderr, flush=True)

    tell(f"seed {options.seed}, {options.seconds:g} s")
    try:
        with tempfile.TemporaryDirectory(prefix="soak-") as name, server() as postgres:
            databases = [sqlite(Path(name)), postgresql(postgres)]
            report = Soak(Path(name), databases, options.seed, tell).run(options.seconds)
    except KeyboardInterrupt:
        tell("interrupted; everything that was started has been ended")
        return 130
    print(json.dumps(report.as_dict(), indent=2) if options.json else text(report))
    return 0 if report.is_right else 1


@contextmanager
def server() -> Iterator[PostgresServer]:
    """PostgreSQL in a directory that its own user can enter."""
    with tempfile.TemporaryDirectory(prefix="soak-postgres-") as name:
        postgres = PostgresServer(Path(name))
        postgres.make()
        postgres.start()
        try:
            yield postgres
        finally:
            postgres.stop()


def text(report: Report) -> str:
    lines = [f"Seed {report.seed}, {report.seconds:g} s"]
    lines += [f"  {times:>6,} {what}" for what, times in sorted(report.happened.items())]
    for name, ledger in report.ledgers.items():
        told, written = ledger.acknowledged, ledger.written
        lines += [
            f"{name}: {ledger.processes} processes",
            f"  acknowledged {told.calls:>9,} calls {told.cost_nano_usd:>18,} nano-USD",
            f"  written      {written.calls:>9,} calls {written.cost_nano_usd:>18,} nano-USD",
            f"  uncertain    {ledger.uncertain:>9,} calls: begun, and not acknowledged",
            *(f"  WRONG: {wrong}" for wrong in ledger.wrong),
        ]
        if ledger.left_in_spool:
            lines.append(f"  WRONG: left in the spool: {', '.join(ledger.left_in_spool)}")
    return "\n".join([*lines, "Right." if report.is_right else "WRONG."])


if __name__ == "__main__":
    sys.exit(main())
