"""Amounts that a program tells: seconds, dollars."""

from __future__ import annotations

import math


def amount(value: float) -> float:
    """A finite number of at least 0; ``ValueError`` or ``TypeError`` for anything else."""
    number = float(value)
    if not 0 <= number < math.inf:
        raise ValueError("no amount")
    return number
