"""How many USD something came to, as tables write it."""

from __future__ import annotations

from decimal import Decimal


def digits_for(usd: Decimal | float) -> int:
    """Decimal places for a column whose sum this is: enough for the small, few for the large."""
    if usd >= 1000:
        return 2
    return 4 if usd >= 1 else 6


def written(usd: Decimal, digits: int) -> str:
    """The amount; what is next to nothing is not shown as nothing."""
    least = Decimal(1).scaleb(-digits)
    return f"<{least:f}" if 0 < usd < least else f"{usd:,.{digits}f}"
