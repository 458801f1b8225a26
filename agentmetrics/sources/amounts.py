"""Amounts that a program tells: seconds, dollars, numbers of things."""

from __future__ import annotations

from agentmetrics.providers.costs import MAX_CALL_USD

MAX_AMOUNT = 1e12
"""Above it is no amount; sums of smaller ones stay finite."""
MAX_SECONDS = 1e8
"""Three years: nothing that is recorded lasts longer."""


def amount(value: float, most: float = MAX_AMOUNT) -> float:
    """A number of at least 0 and at most ``most``; an ``Exception`` for anything else."""
    if issubclass(type(value), bool | str | bytes | bytearray):
        raise TypeError("no number")
    number = float(value)
    if not 0 <= number <= most:
        raise ValueError("no amount")
    return number


def seconds(value: float) -> float:
    """How long something took; an ``Exception`` for what cannot be."""
    return amount(value, MAX_SECONDS)


def dollars(value: float) -> float:
    """What one call cost, or saved; an ``Exception`` for what cannot be."""
    return amount(value, MAX_CALL_USD)
