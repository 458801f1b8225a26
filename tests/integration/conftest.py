"""Fixtures of integration tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def small_heap() -> Iterator[None]:
    """Take what is imported out of the garbage collector's sight: a collection is then quick."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
