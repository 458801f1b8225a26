"""Service tiers: what is known of their price beside the standard one.

A tier that is not known here or in the price list makes a call unpriced; none is taken to cost
what the standard one costs unless its provider says so.
"""

from __future__ import annotations

from collections.abc import Iterator

_AS_STANDARD = frozenset(
    {
        ("groq", "flex"),  # https://console.groq.com/docs/flex-processing
    }
)

_FACTORS = {
    # https://platform.claude.com/docs/en/about-claude/pricing#data-residency-pricing
    ("anthropic", "us"): 1.1,
}
"""Tiers that cost so many times the standard one, for every kind of token."""


def factor_of(provider: str, tier: str) -> float | None:
    """What the standard rates are multiplied with; ``None`` where that is not how it is priced."""
    if not tier or (provider, tier) in _AS_STANDARD:
        return 1.0
    return _FACTORS.get((provider, tier))


def contexts_of(tier: str) -> Iterator[dict[str, str]]:
    """How the price list may say that a price is that of this tier."""
    for name in ("service_tier", "processing", "speed"):
        yield {name: tier}
