"""Pages of the docs as tests read them: sections, blocks of code, tables; and what snippets did."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import agentmetrics
from agentmetrics import MemoryRecorder

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def page(name: str) -> str:
    return (DOCS / name).read_text()


def section(text: str, title: str) -> str:
    """What stands under this heading of the second level."""
    found = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found, f"there is no section {title!r}"
    return found[1]


def blocks(text: str, info: str) -> list[str]:
    """The fenced blocks with exactly this info string."""
    return re.findall(rf"^```{info}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def fences(text: str) -> list[str]:
    """The info strings of all fenced blocks."""
    return re.findall(r"^```(\S.*)$", text, re.MULTILINE)


def rows(text: str, *head: str) -> list[list[str]]:
    """The rows of the tables with this head."""
    titles = r" +\| +".join(map(re.escape, head))
    table = rf"^\| *{titles} *\|\n\|[-|]+\|\n((?:\|.*\|\n)+)"
    found = "".join(re.findall(table, text, re.MULTILINE))
    assert found, f"no table has the head {head}"
    return [[cell.strip() for cell in row[1:-1].split("|")] for row in found.splitlines()]


def reference() -> dict[str, set[str]]:
    """The labels of every metric, as the metric reference has them."""
    row = r"^\| `(\w+)` \| \w+ \| ([^|]*) \|"
    found = re.findall(row, page("metrics.md"), re.MULTILINE)
    return {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in found}


def allowed(label: str) -> list[str]:
    """The values of a label, as the metric reference has them."""
    row = rf"^\| `{label}` \| (`.*) \|$"
    (values,) = re.findall(row, page("metrics.md"), re.MULTILINE)
    return re.findall(r"`(\w+)`", values)


def command(line: str, env: Mapping[str, str]) -> str:
    """What an ``agentmetrics …`` of a page prints; it must end well and complain of nothing."""
    program, *arguments = line.split(" ")
    assert program == "agentmetrics"
    script = Path(sys.executable).with_name(program)
    done = subprocess.run(
        [script, *arguments], env=dict(env), capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def series(recorder: MemoryRecorder, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """The values of a metric that are not 0, by the values of these labels."""
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for sample in recorder.samples()
        if sample.name == name and sample.value
    }


def recorded() -> MemoryRecorder:
    """The configured recorder, which is in memory."""
    recorder = agentmetrics.get_recorder()
    assert isinstance(recorder, MemoryRecorder)
    return recorder
