"""The hooks of pre-commit run what ``make lint types`` runs."""

from __future__ import annotations

import yaml

from tests.packaging.conftest import ROOT, run

TOOLS = (".venv/bin/ruff", ".venv/bin/lint-imports", ".venv/bin/mypy")


def test_a_commit_is_checked_as_make_checks_it():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    (repository,) = config["repos"]
    hooks = [h["entry"] for h in repository["hooks"] if h.get("stages") != ["manual"]]
    told = run("make", "--directory", ROOT, "--dry-run", "lint", "types", "VENV=.venv")
    commands = [line for line in told.splitlines() if line.startswith(TOOLS)]
    assert commands
    assert hooks == commands
