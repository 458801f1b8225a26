"""What a hostile test says of what it has proven, and what is compared with the page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import pytest

from tests.hostile import ROWS
from tests.hostile.table import PAGE, leave, row, rows_of_page

proving = pytest.StashKey[set[tuple[str, str]]]()
"""Module and name, as in a row, of every test that was collected and proves something."""


class Proves(Protocol):
    def __call__(self, tried: str, came: str) -> None:
        """Make the test's row of docs/reliability.md; once, when all has been asserted.

        Args:
            tried: How often, and what: ``f"{calls:,} calls beside {n} threads"``
            came: With figures: ``f"0 hung, {calls:,} of {calls:,} counted; {mb:.1f} MB"``. What
                depends on the machine or on the length of the run is to be in digits, for only the
                rest is compared with the page in a short run.
        """


@pytest.fixture
def proves(request: pytest.FixtureRequest) -> Proves:
    """What holds is the test's name, in words. What the page says follows from it."""

    began = time.monotonic()

    def prove(tried: str, came: str) -> None:
        made = row(request.node.nodeid, tried, came, time.monotonic() - began)
        if ROWS:
            leave(made, Path(ROWS))
        else:
            known = {each.without_figures for each in rows_of_page() if each[:2] == made[:2]}
            assert known == {made.without_figures}, f"{PAGE.name}: run python -m tests.hostile"

    return prove


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Before any of them are deselected."""
    config.stash[proving] = {
        row(item.nodeid, "", "", 0)[:2]
        for item in items
        if isinstance(item, pytest.Function) and "proves" in item.fixturenames
    }
