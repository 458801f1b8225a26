"""Dashboards checked by the TypeScript compiler, with the types of ``@grafana/schema``."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.services.panels import bundled, installed

# What is checked: a name for people, its type in tests/panels/types.ts, and its value.
Statement = tuple[str, str, Mapping[str, Any]]

_IMPORTS = "import type { Board, Custom, Options, Panel, Row } from '../types';\n"
_FINDING = re.compile(r"board\.ts\((\d+),\d+\): error TS\d+: (.*)")


def type_findings(*boards: Mapping[str, Any]) -> list[str]:
    """What ``tsc --noEmit --strict`` finds wrong with dashboards in the classic schema.

    The boards and their panels are checked, and of each panel the options and the field
    configuration that are its type's own. A name that Grafana does not know is a finding.
    """
    statements = [statement for board in boards for statement in _statements(board)]
    lines = (
        f"const checked{number}: {type_} = {json.dumps(value)};"
        for number, (_, type_, value) in enumerate(statements)
    )
    with tempfile.TemporaryDirectory(dir=bundled()) as directory:
        source = Path(directory) / "board.ts"
        source.write_text(_IMPORTS + "\n".join(lines), "utf-8")
        tsc = installed() / "node_modules" / ".bin" / "tsc"
        options = ["--noEmit", "--strict", "--skipLibCheck", "--module", "preserve"]
        done = subprocess.run([tsc, *options, source], capture_output=True, text=True)
    findings = [
        f"{statements[int(line) - 2][0]}: {what}" for line, what in _FINDING.findall(done.stdout)
    ]
    assert bool(findings) == bool(done.returncode), done.stdout + done.stderr
    return findings


def _statements(board: Mapping[str, Any]) -> Iterator[Statement]:
    whole = f"board {board['title']!r}"
    yield whole, "Board", _without_panels(board)
    for panel in _panels(board):
        kind = panel["type"]
        name = f"{whole}, panel {panel['id']} ({kind}, {panel.get('title')!r})"
        if kind == "row":
            yield name, "Row", _without_panels(panel)
            continue
        yield name, "Panel", panel
        yield f"{name}, options", f"Options['{kind}']", panel.get("options", {})
        defaults = panel.get("fieldConfig", {}).get("defaults", {})
        yield f"{name}, custom", f"Custom['{kind}']", defaults.get("custom", {})


def _panels(board: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for panel in board.get("panels", []):
        yield panel
        yield from _panels(panel)


def _without_panels(board: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in board.items() if name != "panels"}
