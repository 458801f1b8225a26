"""The page has what is proven, and nothing else."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.hostile.conftest import proving
from tests.hostile.table import HERE, PAGE, page, rows_of_page


def test_every_test_that_proves_something_has_a_row_and_every_row_a_test(
    request: pytest.FixtureRequest,
) -> None:
    collected = request.config.stash[proving]
    modules = {module for module, _ in collected}  # which is all of them where all tests are run
    on_page = Counter(row[:2] for row in rows_of_page())
    assert {row for row in on_page if row[0] in modules} == collected
    assert set(on_page.values()) <= {1}


def test_every_section_is_of_a_module() -> None:
    modules = {row.module for row in rows_of_page()}
    assert modules <= {path.stem for path in HERE.glob("test_*.py")}


def test_the_page_is_what_its_rows_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(rows_of_page())
