"""Writes what docs take from the code: metrics.md, environment.md and imports.svg.

``python docs/generate.py`` writes them, ``--check`` exits with 1 when one is not current.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import imports_picture
from pydantic import AliasChoices
from pydantic.fields import FieldInfo

from agentmetrics import catalog
from agentmetrics.config.settings import Settings, variable_of
from agentmetrics.recording.metric import Metric

DOCS = Path(__file__).parent
MADE = "<!-- Made by docs/generate.py from the code; edit that. -->"
SUBJECTS = {
    "LLM calls": ("llm_",),
    "Agents": ("agent_",),
    "Tools": ("tool_",),
    "Retrievers": ("retriever_",),
    "Routing": ("model_",),
    "Caches": ("cache_",),
    "Budgets": ("budget_",),
    "The application": ("errors_", "service_"),
    "About itself": ("agentmetrics_",),
}
_ROWS = (*catalog.CATALOG, *catalog.APPLICATION)
NONE = "\N{EN DASH}"
VALUES = {
    "status": catalog.STATUSES,
    "error_type": catalog.ERROR_TYPES,
    "token_type": catalog.TOKEN_TYPES,
    "token_detail": catalog.TOKEN_DETAILS,
}


def metrics_page() -> str:
    lines = [
        "# Metric reference",
        "",
        MADE,
        "",
        "Labels are given in their order, which is also the order of the parts of a StatsD name.",
        "**+** marks the metrics that also get the labels of `AGENTMETRICS_EXTRA_LABELS`, last.",
        "Money is in USD, time in seconds on a monotonic clock.",
    ]
    for subject, prefixes in SUBJECTS.items():
        lines += ["", f"## {subject}", ""]
        lines += ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
        lines += [_row(m) for m in _ROWS if m.name.startswith(prefixes)]
    lines += ["", "## Label values", "", "| label | values |", "|---|---|"]
    lines += [f"| `{name}` | {_code(values)} |" for name, values in VALUES.items()]
    lines += [
        "",
        "Past `AGENTMETRICS_MAX_SERIES` label sets of one metric, the labels that are not in the",
        "table above become `other`.",
        "",
        "## Buckets",
        "",
        "| histograms in | upper bounds |",
        "|---|---|",
    ]
    lines += [f"| {what} | {', '.join(f'{b:g}' for b in bounds)} |" for what, bounds in _buckets()]
    return "\n".join(lines) + "\n"


def _row(metric: Metric) -> str:
    extended = " **+**" if metric.extended else ""
    labels = (_code(metric.labels) or NONE) + extended
    return f"| `{metric.name}` | {metric.kind} | {labels} | {metric.help} |"


def _code(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _buckets() -> Iterator[tuple[str, tuple[float, ...]]]:
    yield "seconds of calls and runs (or `AGENTMETRICS_LATENCY_BUCKETS`)", catalog.LATENCY_BUCKETS
    yield "seconds to the first token", catalog.FIRST_TOKEN_BUCKETS
    yield "seconds of tools and retrievers", catalog.TOOL_BUCKETS
    yield "seconds per output token", catalog.TOKEN_SPEED_BUCKETS
    yield "seconds of a choice of a model", catalog.ROUTING_BUCKETS
    yield "USD", catalog.COST_BUCKETS
    yield "calls, documents", catalog.COUNT_BUCKETS
    yield "tokens of a run", catalog.TOKEN_BUCKETS


def environment_page() -> str:
    lines = [
        "# Environment variables",
        "",
        MADE,
        "",
        "Each is also a keyword of `agentmetrics.configure(…)`, without the prefix and in small",
        "letters. Lists are written with commas. A value that cannot be used stops the program",
        "when the settings are first used, with one sentence that names the variable.",
        "",
        "| variable | default | meaning |",
        "|---|---|---|",
    ]
    lines += [_setting(name, field) for name, field in Settings.model_fields.items()]
    lines += [
        "",
        "`PROMETHEUS_MULTIPROC_DIR`, prometheus-client's own, turns on the multiprocess mode of",
        "the Prometheus backend; see [Prometheus](prometheus.md).",
    ]
    return "\n".join(lines) + "\n"


def _setting(name: str, field: FieldInfo) -> str:
    variables = [variable_of(name)]
    if isinstance(field.validation_alias, AliasChoices):
        variables = [str(choice) for choice in field.validation_alias.choices]
    names = ", else ".join(f"`{variable}`" for variable in variables)
    return f"| {names} | {_default(field.default)} | {field.description} |"


def _default(value: object) -> str:
    if isinstance(value, tuple):
        value = ",".join(map(str, value))
    return f"`{value}`" if value not in ("", None, {}) else NONE


PAGES = {
    "metrics.md": metrics_page,
    "environment.md": environment_page,
    "imports.svg": imports_picture.picture,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    check = parser.parse_args().check
    stale = [n for n, page in PAGES.items() if not _is_current(DOCS / n, page())]
    if check and stale:
        print(f"not current: {', '.join(stale)}; run: make docs", file=sys.stderr)
        return 1
    for name in stale:
        (DOCS / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"wrote docs/{name}")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
