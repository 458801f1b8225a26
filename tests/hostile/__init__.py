"""What is hostile to metrics: nothing of it may reach the program. One module for each kind.

Part of every run in a short form; ``make hostile`` runs all of it whole, and makes
docs/reliability.md of what the tests have proven.
"""

from __future__ import annotations

import os

ROWS = os.environ.get("HOSTILE_ROWS")
"""The directory of what was proven, which ``python -m tests.hostile`` sets: all is whole then."""


def times(*, short: int, whole: int) -> int:
    """How often something is tried: in any run of the tests, and in one that makes the page."""
    return whole if ROWS else short
