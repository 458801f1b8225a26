"""Fixtures of integration tests."""

from __future__ import annotations

import gc

import pytest


@pytest.fixture(scope="module")
def only_our_objects() -> None:
    """What earlier tests have left alive is not among ``gc.get_objects()``, nor gone through."""
    gc.collect()
    gc.freeze()
