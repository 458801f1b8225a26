"""Usage to USD, on the prices of genai-prices, through per-token rates that are asked for once.

One full calculation costs more than the rest of a call's metrics together (the benchmark has
the ratio), so each (provider, model) is asked for its rates once, or once a day where prices have
dates. Prices with context tiers or times of day go through the full calculation every time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agentmetrics.usage import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider

Pricer = Callable[[Usage], "float | None"]

LOCAL_PROVIDERS = frozenset(
    {"ollama", "llamacpp", "llama_cpp", "vllm", "huggingface_pipeline", "gpt4all", "mlx"}
)
"""Providers that run on the user's own machine: every call costs 0, by declaration."""

_PROVIDER_IDS = {
    "amazon_bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "anthropic_bedrock": "aws",
    "azure_openai": "azure",
    "azure_ai": "azure",
    "google_genai": "google",
    "google_vertexai": "google",
    "google_anthropic_vertex": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
    "together_ai": "together",
}
_MAX_PRICERS = 10_000
_SECONDS_PER_DAY = 86_400


class Prices:
    """What calls cost: one pricer for each (provider, model), made when first asked for."""

    def __init__(self) -> None:
        self._pricers: dict[tuple[str, str], Pricer] = {}

    def cost_usd(self, provider: str, model: str, usage: Usage) -> float | None:
        """The cost of one call in USD, or ``None`` when nobody knows the price.

        ``None`` also when the provider did not say how many tokens went either way: a part
        of a cost is not the cost.
        """
        return self.pricer(provider, model)(usage)

    def pricer(self, provider: str, model: str) -> Pricer:
        """What ``cost_usd`` is for this model, without the look-up."""
        key = (provider, model)
        found = self._pricers.get(key)
        if found is None:
            if len(self._pricers) >= _MAX_PRICERS:
                self._pricers.clear()
            found = self._pricers.setdefault(key, _make_pricer(provider, model))
        return found


def _make_pricer(provider: str, model: str) -> Pricer:
    if provider in LOCAL_PROVIDERS:
        return _free
    found = _find(provider, model)
    if found is None:
        return _unknown
    price_provider, info = found
    if not _is_flat(info):
        return lambda usage: _full_or_unknown(price_provider, info, usage)
    if isinstance(info.prices, list):
        return _Dated(price_provider, info).cost_usd
    return Rates.measured(price_provider, info).cost_usd


class _Dated:
    """Flat prices that change on a date: measured anew every day (UTC)."""

    def __init__(self, provider: Provider, info: ModelInfo) -> None:
        self._source = provider, info
        self._day = -1
        self._rates: Rates

    def cost_usd(self, usage: Usage) -> float | None:
        day = int(time.time()) // _SECONDS_PER_DAY
        if day != self._day:
            self._rates, self._day = Rates.measured(*self._source), day
        return self._rates.cost_usd(usage)


def _free(usage: Usage) -> float:
    return 0.0


def _unknown(usage: Usage) -> None:
    return None


def _find(provider: str, model: str) -> tuple[Provider, ModelInfo] | None:
    """genai-prices' entry for a model, unless the name is of one it cannot know.

    A fine-tune (``ft:…``) has a price of its own, which is not the base model's.
    """
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ModuleNotFoundError:  # without the extra [prices] every call is unpriced
        return None
    if not model or model.startswith("ft:"):
        return None
    try:
        return get_snapshot().find_provider_model(
            model, None, _PROVIDER_IDS.get(provider, provider), None
        )
    except LookupError:
        return None


def _is_flat(info: ModelInfo) -> bool:
    from genai_prices.types import ConditionalPrice, TieredPrices, TimeOfDateConstraint

    conditional = (
        info.prices if isinstance(info.prices, list) else [ConditionalPrice(prices=info.prices)]
    )
    return not any(
        isinstance(price.constraint, TimeOfDateConstraint)
        or any(isinstance(rate, TieredPrices) for rate in vars(price.prices).values())
        for price in conditional
    )


def _full_or_unknown(provider: Provider, info: ModelInfo, usage: Usage) -> float | None:
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    try:
        return _full(provider, info, usage)
    except ValueError:  # counts that contradict each other in a way only this price notices
        return None


def _full(provider: Provider, info: ModelInfo, usage: Usage) -> float:
    from genai_prices.types import Usage as Counted

    created, created_1h = usage.cache_creation_tokens or 0, usage.cache_creation_1h_tokens or 0
    counts: dict[str, Any] = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens or 0,
        "cache_write_tokens": created,
        "cache_write_1h_tokens": created_1h,
        "cache_write_5m_tokens": created - created_1h,
        "input_audio_tokens": usage.audio_input_tokens or 0,
        "output_audio_tokens": usage.audio_output_tokens or 0,
        "output_reasoning_tokens": usage.reasoning_tokens or 0,
    }
    reported = {name: count for name, count in counts.items() if count}
    # No provider says how much of the audio was read from the cache: none is taken to be.
    calculation = info.calc_price(Counted(cache_audio_read_tokens=0, **reported), provider)
    return float(calculation.total_price)


@dataclass(frozen=True, slots=True)
class Rates:
    """USD for one token of each kind, where prices are flat.

    The parts hold the difference to the plain rate of the whole they belong to.
    """

    request: float
    input: float
    output: float
    cache_read: float
    cache_creation: float
    cache_creation_1h: float
    reasoning: float
    audio_input: float
    audio_output: float

    @classmethod
    def measured(cls, provider: Provider, info: ModelInfo) -> Rates:
        """The rates of a flat price, from one full calculation for each kind of token.

        A flat price is linear in every count, so a million tokens of one kind give its rate.
        """
        n = 1_000_000

        def price(**counts: int) -> float:
            return _full(provider, info, Usage(**{"input_tokens": 0, "output_tokens": 0, **counts}))

        request = price()
        all_input, all_output = price(input_tokens=n), price(output_tokens=n)
        created = price(input_tokens=n, cache_creation_tokens=n)
        created_1h = price(input_tokens=n, cache_creation_tokens=n, cache_creation_1h_tokens=n)
        return cls(
            request=request,
            input=(all_input - request) / n,
            output=(all_output - request) / n,
            cache_read=(price(input_tokens=n, cache_read_tokens=n) - all_input) / n,
            cache_creation=(created - all_input) / n,
            cache_creation_1h=(created_1h - created) / n,
            reasoning=(price(output_tokens=n, reasoning_tokens=n) - all_output) / n,
            audio_input=(price(input_tokens=n, audio_input_tokens=n) - all_input) / n,
            audio_output=(price(output_tokens=n, audio_output_tokens=n) - all_output) / n,
        )

    def cost_usd(self, usage: Usage) -> float | None:
        input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
        if input_tokens is None or output_tokens is None:
            return None
        cost = self.request + input_tokens * self.input + output_tokens * self.output
        if not usage.has_details:
            return cost
        if usage.cache_read_tokens:
            cost += usage.cache_read_tokens * self.cache_read
        if usage.cache_creation_tokens:
            cost += usage.cache_creation_tokens * self.cache_creation
        if usage.cache_creation_1h_tokens:
            cost += usage.cache_creation_1h_tokens * self.cache_creation_1h
        if usage.reasoning_tokens:
            cost += usage.reasoning_tokens * self.reasoning
        if usage.audio_input_tokens:
            cost += usage.audio_input_tokens * self.audio_input
        if usage.audio_output_tokens:
            cost += usage.audio_output_tokens * self.audio_output
        return cost
