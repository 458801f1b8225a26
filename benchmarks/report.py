"""The measured rows as a markdown page, and the targets they are held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import pyperf

from benchmarks.contenders import CALC_PRICE, HAND
from benchmarks.looking import NOBODY, ONE_PAGE, ONE_TOP
from benchmarks.measure import Measured, Row
from benchmarks.recycled import AFTER_RECYCLING, TEN_WORKERS
from benchmarks.rows import HAND_NEW_AGENT, HAND_NEW_MODEL, LEDGER, NEW_AGENT, NEW_MODEL

PACKAGES = (
    "llm-agentmetrics",
    "prometheus-client",
    "langchain-core",
    "genai-prices",
    "statsd",
    "pyperf",
)


@dataclass(frozen=True)
class Section:
    """One row kind: its title, what stands as 1, and what was measured."""

    title: str
    baseline: str
    row: Row


@dataclass(frozen=True)
class Target:
    """A ratio that must not be above its limit."""

    what: str
    ratio: float
    limit: float

    @property
    def met(self) -> bool:
        return self.ratio <= self.limit


def targets(rows: Mapping[str, Row]) -> list[Target]:
    def ratio(row: str, name: str, baseline: str = HAND) -> float:
        return rows[row][name].ratio(rows[row][baseline])

    slowest = max(row.median for name, row in rows["pricing"].items() if name != CALC_PRICE)
    return [
        Target("one call, memory / hand-written", ratio("call", "memory"), 0.35),
        Target("one call, prometheus / hand-written", ratio("call", "prometheus"), 0.35),
        Target("one token, memory / hand-written", ratio("token", "memory"), 1.0),
        Target("one token, prometheus / hand-written", ratio("token", "prometheus"), 1.0),
        Target(
            "one call, memory, 10 000 label sets / 1",
            ratio("label_sets", "memory, 10 000", "memory, 1"),
            1.5,
        ),
        Target(
            "the first call of an agent, memory / hand-written",
            ratio("new_label_sets", NEW_AGENT, HAND_NEW_AGENT),
            0.5,
        ),
        Target(
            "the first call of a model, memory / hand-written",
            ratio("new_label_sets", NEW_MODEL, HAND_NEW_MODEL),
            0.5,
        ),
        Target(
            "one scrape of 10 000 series, ours / prometheus-client's",
            ratio("scrape", "prometheus", "prometheus-client"),
            1.0,
        ),
        Target(
            "one scrape of ten workers, after 10 000 recycled ones / alone",
            ratio("recycled", AFTER_RECYCLING, TEN_WORKERS),
            1.5,
        ),
        Target("one agent run, a page looks / nobody", ratio("looking", ONE_PAGE, NOBODY), 1.02),
        Target("one agent run, `top` looks / nobody", ratio("looking", ONE_TOP, NOBODY), 1.02),
        Target("the cost of one call, rates known, slowest kind, in µs", slowest * 1e6, 1.0),
        Target(
            "the ledger's share of one call, on disk when it ends, adding up included, in µs",
            rows["ledger"][LEDGER].above(rows["ledger"]["memory"]) / 1e-6,
            2.4,
        ),
    ]


def page(
    sections: list[Section],
    met: list[Target],
    command: str,
    packages: Sequence[str] = PACKAGES,
) -> str:
    """The whole of RESULTS.md."""
    lines = ["# Benchmark results", "", f"Made by `{command}`.", "", *_environment(packages), ""]
    lines += ["## Targets", "", "| ratio | measured | at most | |", "|---|---:|---:|---|"]
    lines += [
        f"| {target.what} | {target.ratio:.3f} | {target.limit:.2f} "
        f"| {'pass' if target.met else '**fail**'} |"
        for target in met
    ]
    for section in sections:
        lines += ["", f"## {section.title}", ""]
        lines += [f"| | median | of {section.baseline} | quartiles |", "|---|---:|---:|---|"]
        baseline = section.row[section.baseline]
        lines += [_line(measured, baseline) for measured in section.row.values()]
    return "\n".join(lines) + "\n"


def _line(measured: Measured, baseline: Measured) -> str:
    low, high = measured.spread(baseline)
    return (
        f"| {measured.name} | {_time(measured.median)} | {measured.ratio(baseline):.3f} "
        f"| {low:.3f} to {high:.3f} |"
    )


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"


def _environment(packages: Sequence[str]) -> list[str]:
    facts = pyperf.Run([1.0], metadata={"name": "environment"}).get_metadata()
    names = ("python_version", "python_implementation", "platform", "cpu_model_name", "cpu_count")
    lines = [f"- {name.replace('_', ' ')}: {facts[name]}" for name in names if name in facts]
    if "load_avg_1min" in facts:
        lines.append(f"- load average when written: {facts['load_avg_1min']:.2f}")
    return [*lines, "- packages: " + ", ".join(f"{name} {_version(name)}" for name in packages)]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
