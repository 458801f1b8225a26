"""Budgets from a TOML file, each in a table ``[budgets.NAME]``; ``notify`` above is for all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from agentmetrics._toml import Document, read_document
from agentmetrics.budget.budgets.budget import Budget
from agentmetrics.budget.notify.destination import parse_all

_KEYS = tuple(f.name for f in fields(Budget) if f.name not in ("name", "on_threshold"))


def read_budgets(path: Path) -> tuple[Budget, ...]:
    """The budgets in a file.

    Raises ``ValueError`` with one sentence that says what is wrong, and in which line.
    """
    document = read_document(path)
    unknown = document.values.keys() - {"budgets", "notify"}
    if unknown:
        name = min(unknown)
        raise document.mistake((name,), f"[{name}] is not a known table: use [budgets.NAME]")
    notify = document.values.get("notify", ())
    try:
        parse_all(notify)
    except ValueError as error:
        raise document.mistake(("notify",), str(error)) from None
    budgets = document.values.get("budgets", {})
    if not isinstance(budgets, Mapping) or not budgets:
        raise ValueError("defines no budgets: add a [budgets.NAME] table")
    return tuple(_budget(name, table, notify, document) for name, table in budgets.items())


def _budget(name: str, table: Any, notify: Any, document: Document) -> Budget:
    where = f"[budgets.{name}]"

    def mistake(sentence: str, key: str = "") -> ValueError:
        return document.mistake(("budgets", name, key), f"{where} {sentence}")

    if not isinstance(table, Mapping):
        raise mistake("must be a table: put limit_usd and other keys below it")
    unknown = table.keys() - set(_KEYS)
    if unknown:
        key = min(unknown)
        raise mistake(f"has an unknown key {key!r}: use one of {', '.join(_KEYS)}", key)
    if "limit_usd" not in table:
        raise mistake("has no limit_usd")
    given = {"notify": notify, **table}
    thresholds = given.get("thresholds")
    if thresholds is not None:
        if not isinstance(thresholds, list):
            raise mistake(f"thresholds={thresholds!r}: must be a list of percentages", "thresholds")
        given["thresholds"] = tuple(thresholds)
    scope = given.get("scope", {})
    if not isinstance(scope, Mapping):
        raise mistake(f"scope={scope!r}: must be a table of labels", "scope")
    try:
        return Budget(name, **given)
    except ValueError as error:
        key = re.match(r"\w+", str(error))
        raise mistake(str(error), key[0] if key else "") from None
