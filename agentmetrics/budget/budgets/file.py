"""Budgets from a TOML file: a table ``[budgets.NAME]`` each."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from agentmetrics.budget.budgets.budget import Budget

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_KEYS = tuple(f.name for f in fields(Budget) if f.name not in ("name", "on_threshold"))


def read_budgets(path: Path) -> tuple[Budget, ...]:
    """The budgets of a file.

    Raises ``ValueError`` with one sentence that says what is wrong with it; of a file that is
    no TOML, which a budget given twice is too, with the line.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("is no text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"is no TOML: {error}") from None
    unknown = tables.keys() - {"budgets"}
    if unknown:
        raise ValueError(f"[{min(unknown)}] is not known: write [budgets.NAME]")
    budgets = tables.get("budgets", {})
    if not isinstance(budgets, Mapping) or not budgets:
        raise ValueError("holds no budget: write [budgets.NAME]")
    return tuple(_budget(name, table) for name, table in budgets.items())


def _budget(name: str, table: Any) -> Budget:
    where = f"[budgets.{name}]"
    if not isinstance(table, Mapping):
        raise ValueError(f"{where} is no table: write limit_usd and the like below it")
    unknown = table.keys() - set(_KEYS)
    if unknown:
        raise ValueError(f"{where} {min(unknown)}: there are {', '.join(_KEYS)}")
    if "limit_usd" not in table:
        raise ValueError(f"{where} has no limit_usd")
    given = dict(table)
    thresholds = given.get("thresholds")
    if thresholds is not None:
        if not isinstance(thresholds, list):
            raise ValueError(f"{where} thresholds={thresholds!r}: use a list of per cent")
        given["thresholds"] = tuple(thresholds)
    scope = given.get("scope", {})
    if not isinstance(scope, Mapping):
        raise ValueError(f"{where} scope={scope!r}: use a table of labels")
    try:
        return Budget(name, **given)
    except ValueError as error:
        raise ValueError(f"{where} {error}") from None
