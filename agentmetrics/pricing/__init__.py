"""Usage to USD, on a user's own prices and those of genai-prices."""

from __future__ import annotations

from agentmetrics.pricing.file import PriceFile
from agentmetrics.pricing.names import LOCAL_PROVIDERS
from agentmetrics.pricing.prices import Pricer, Prices, Quote
from agentmetrics.pricing.rates import Price, Rates
from agentmetrics.pricing.updates import Updates

__all__ = [
    "LOCAL_PROVIDERS",
    "Price",
    "PriceFile",
    "Pricer",
    "Prices",
    "Quote",
    "Rates",
    "Updates",
]
