"""``python -m benchmarks.plugins``: what plugins cost beside their peers, into RESULTS.md here."""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

from benchmarks import report
from benchmarks.measure import Row
from benchmarks.plugins import wrapped

RESULTS = Path(__file__).with_name("RESULTS.md")
LIMIT = 0.7
"""The most that ours may cost above the bare thing, as a share of what the peer costs above it."""
HANDLER_LIMIT = 1.5
PACKAGES = (
    "llm-agentmetrics",
    "prometheus-client",
    "starlette",
    "fastapi",
    "prometheus-fastapi-instrumentator",
    "starlette-exporter",
    "sqlalchemy",
    "celery",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation-sqlalchemy",
    "opentelemetry-instrumentation-celery",
    "datadog",
)


@dataclass(frozen=True)
class Plan:
    """A table: its title, the module of this package that measures it, and who stands for what."""

    title: str
    module: str
    bare: str = "BARE"
    ours: str = "OURS"
    peers: tuple[str, ...] = ("PEER",)
    function: str = "measure"
    rounds: int = 40

    def name(self, constant: str) -> str:
        """What the module calls a contender."""
        name: str = getattr(import_module(f"benchmarks.plugins.{self.module}"), constant)
        return name


WEB = ("INSTRUMENTATOR", "EXPORTER")
PLANS = (
    Plan("One request to a Starlette", "http", peers=WEB),
    Plan("One request to a FastAPI", "http", peers=WEB, function="measure_fastapi"),
    Plan("One query of SQLAlchemy", "database"),
    Plan("One Celery task", "tasks"),
    Plan("One LLM call on the OpenTelemetry SDK", "otel", bare="NOTHING"),
    Plan("One LLM call's updates to DogStatsD", "dogstatsd", peers=("PEER", "PEER_AGGREGATED")),
    Plan("One LLM call in a span", "exemplars", bare="OURS_WITHOUT", peers=()),
    Plan("One call of an SDK", "wrapped", bare="BARE", ours="WRAPPED", peers=()),
    # Nobody else reads the container, so none is a peer.
    Plan("One scrape with system metrics", "system", peers=(), rounds=20),
)


def main() -> int:
    arguments = _arguments()
    began = time.monotonic()
    sections, found = [], []
    for plan in PLANS:
        print(f"{plan.title} …", file=sys.stderr, flush=True)
        row = measured(plan, 4 if arguments.quick else plan.rounds)
        sections.append(report.Section(plan.title, plan.name(plan.bare), row))
        found += targets(plan, row)
        if plan.module == "wrapped":
            found += beside_the_handler(row)
    command = " ".join(["python -m benchmarks.plugins", *sys.argv[1:]])
    text = report.page(sections, found, command, PACKAGES)
    print(text)
    print(f"took {time.monotonic() - began:.0f} s", file=sys.stderr)
    if not arguments.quick:
        RESULTS.write_text(text, encoding="utf-8")
    return 1 if arguments.check and not all(target.met for target in found) else 0


def measured(plan: Plan, rounds: int) -> Row:
    """A table, from a process of its own, since some peers change what all others use."""
    measure = getattr(import_module(f"benchmarks.plugins.{plan.module}"), plan.function)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        row: Row = process.submit(measure, rounds).result()
        return row


def targets(plan: Plan, row: Row) -> list[report.Target]:
    """What ours costs above the bare thing, over what each peer does."""
    bare, ours = row[plan.name(plan.bare)], row[plan.name(plan.ours)]
    return [
        report.Target(
            f"{plan.title}: {ours.name} above bare / {peer.name} above bare",
            ours.above(bare) / peer.above(bare),
            LIMIT,
        )
        for peer in (row[plan.name(constant)] for constant in plan.peers)
    ]


def beside_the_handler(row: Row) -> list[report.Target]:
    """What recording a call without LangChain costs, over the handler's call."""
    handler = row[wrapped.HANDLER].median
    costs = {
        "a wrapped client's call above the client's": row[wrapped.WRAPPED].above(row[wrapped.BARE]),
        "track_call": row[wrapped.TRACK].median,
        "record_call": row[wrapped.RECORD].median,
    }
    return [
        report.Target(f"{name} / the handler's call", cost / handler, HANDLER_LIMIT)
        for name, cost in costs.items()
    ]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plugins", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few rounds, no RESULTS.md")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
