"""The price list of genai-prices: which of its entries a model is, and what that costs.

With ``patterns``, the one module that knows the shapes of that package. It is imported when the
first ``Prices`` are made, never at a call: a child that is forked while a thread imports would wait
for that thread for ever.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from agentmetrics.pricing.names import Name
from agentmetrics.pricing.patterns import Patterns
from agentmetrics.pricing.rates import (
    FREE,
    UNKNOWN,
    Band,
    Detailed,
    InputOnly,
    Price,
    Rates,
    Stepped,
)
from agentmetrics.pricing.tiers import contexts_of, factor_of
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, Provider, TieredPrices

_COUNTED = frozenset(
    {
        "input_mtok",
        "output_mtok",
        "cache_read_mtok",
        "cache_write_mtok",
        "cache_write_5m_mtok",
        "cache_write_1h_mtok",
        "output_reasoning_mtok",
        "input_audio_mtok",
        "output_audio_mtok",
        "cache_audio_read_mtok",
        "input_image_mtok",
        "output_image_mtok",
        "cache_image_read_mtok",
        "requests_kcount",
    }
)
"""The units that ``Usage`` counts."""

_FEES = frozenset({"web_searches_kcount", "storage_searches_kcount"})
"""Units that a model's tools bill, and its tokens do not depend on."""

_NOT_TEXT = frozenset({"input_image_mtok", "input_video_mtok"})
"""Kinds of input that embeddings have a rate for; LangChain embeds text."""

_USUAL = Name("openai", "gpt-4o-mini")
"""A model that the list surely has."""

_NEEDED = {
    "input_image_mtok": "image_input_tokens",
    "output_image_mtok": "image_output_tokens",
}
"""Kinds of tokens whose number has to be known where they have a rate: fields of ``Usage``."""

_IMAGES_AS_TEXT = frozenset({"google"})
"""Providers for whom an image in a prompt costs what its tokens would as text.

https://ai.google.dev/gemini-api/docs/pricing
"""

_ZERO = Decimal(0)

_AUDIO_APART = frozenset({"openai", "azure"})
"""Providers whose audio tokens never cost what text does: without a rate, the price is unknown.

https://openai.com/api/pricing; the list lacks the rate for some models.
"""


_AT_THEIR_PRICE = {
    # https://azure.microsoft.com/pricing/details/cognitive-services/openai-service, and
    # https://platform.claude.com/docs/en/build-with-claude/claude-in-microsoft-foundry; what else
    # is in Azure's catalogue costs something else there.
    "azure": ("openai", "anthropic"),
    # https://platform.claude.com/docs/en/about-claude/pricing: of Vertex' global endpoints
    "google": ("anthropic",),
}
"""The makers whose own models cost what they take themselves, where somebody else serves them."""

_BARE_ALIASES = frozenset({"mistral"})
"""Providers for whom the name of a family is that of its latest model.

https://docs.mistral.ai/getting-started/models
"""

_STALE = frozenset({Name("deepseek", "deepseek-chat"), Name("deepseek", "deepseek-reasoner")})
"""Aliases that have moved, and the list still has the price of what they stood for in 2025.

DeepSeek has retired them: https://api-docs.deepseek.com/quick_start/pricing.
"""

_OPEN_WEIGHTS = re.compile("gpt-oss")
"""Models that their maker does not serve, so that everybody has a price of their own."""


def load() -> None:
    """Import the price list, where it is installed, and index it.

    What genai-prices imports and makes at its own first calculation is done as well.
    """
    try:
        entry = find(_USUAL)
        if entry is not None:
            entry.price("", _USUAL.provider)
    except Exception as error:
        logger.warning("the price list cannot be used: %s", type(error).__name__)


def snapshot() -> DataSnapshot | None:
    """The prices in use: the package's, or newer ones; ``None`` without the extra [prices]."""
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ModuleNotFoundError:
        return None
    return get_snapshot()


@dataclass(frozen=True)
class Entry:
    """One model of the list."""

    provider: Provider
    model: ModelInfo
    _prices: dict[tuple[str, str], Price] = field(default_factory=dict, repr=False, compare=False)

    def price(self, tier: str, asked: str) -> Price:
        """What it costs in a service tier when asked for at the provider ``asked``."""
        if not self._never_changes(tier):
            return _Clocked(self, tier, asked)
        known = self._prices.get((tier, asked))
        if known is None:
            known = self._price_at(datetime.now(timezone.utc), tier, asked)
            self._prices[tier, asked] = known
        return known

    def costs_as(self, other: Entry) -> bool:
        """Whether the list has the same prices for both."""
        mine, theirs = self.model, other.model
        return mine.prices == theirs.prices and mine.price_variants == theirs.price_variants

    def _never_changes(self, tier: str) -> bool:
        return not (isinstance(self.model.prices, list) or (tier and self.model.price_variants))

    def price_until(self, now: datetime, tier: str, asked: str) -> tuple[Price, datetime]:
        """The price, and when it may be another."""
        return self._price_at(now, tier, asked), min(self._changes(now))

    def _changes(self, now: datetime) -> Iterator[datetime]:
        midnight = datetime.combine(now.date() + timedelta(days=1), time_of_day(), timezone.utc)
        yield midnight  # dates begin there
        conditional = self.model.prices if isinstance(self.model.prices, list) else []
        for priced in (*conditional, *(self.model.price_variants or ())):
            for name in ("start_time", "end_time"):
                edge: time_of_day | None = getattr(priced.constraint, name, None)
                if edge is not None:
                    zone = edge.tzinfo or timezone.utc  # the list's rule
                    today = now.astimezone(zone).date()
                    for day in (today, today + timedelta(days=1)):
                        when = datetime.combine(day, edge.replace(tzinfo=None), zone)
                        if when > now:
                            yield when

    def _price_at(self, now: datetime, tier: str, asked: str) -> Price:
        prices, factor = self._of_tier(now, tier, asked)
        return UNKNOWN if prices is None else self._price_of(prices, factor)

    def _price_of(self, prices: ModelPrice, factor: float) -> Price:
        stated = {key: rate for key, rate in vars(prices).items() if rate is not None}
        if not stated:
            return FREE if self.model.id.endswith(":free") else UNKNOWN
        input_only = "output_mtok" not in stated
        expected = _COUNTED | _FEES | (_NOT_TEXT if input_only else frozenset())
        if "input_mtok" not in stated or not stated.keys() <= expected:
            return UNKNOWN
        if not _is_whole(frozenset(stated)):
            return UNKNOWN
        unknown = tuple(self._without_rate(stated))
        limits = {step.start for rate in stated.values() for step in getattr(rate, "tiers", ())}
        bands = tuple(
            (limit, _rates(stated, limit + 1, unknown).times(factor))
            for limit in sorted({0} | limits)
        )
        price: Price = Stepped(bands) if len(bands) > 1 else bands[0][1]
        if input_only:
            return InputOnly(bands[0][1]) if len(bands) == 1 else price
        needed = tuple(told for unit, told in _NEEDED.items() if unit in stated)
        return Detailed(price, needed) if needed else price

    def _of_tier(self, now: datetime, tier: str, asked: str) -> tuple[ModelPrice | None, float]:
        factor = factor_of(asked, tier)
        if factor is not None:
            return self.model.get_prices(now), factor
        if asked == _normal(self.provider.id):  # not another's model: its tiers are not theirs
            for variant in self.model.price_variants or ():
                for context in contexts_of(tier):
                    in_force = variant.constraint is None or variant.constraint.active(now)
                    if variant.when == context and in_force:
                        return self.model.get_prices(now, context), 1.0
        return None, 1.0

    def _without_rate(self, stated: dict[str, Any]) -> Iterator[str]:
        if "cache_write_mtok" in stated and "cache_write_1h_mtok" not in stated:
            yield "cache_creation_1h_tokens"
        if self.provider.id in _AUDIO_APART:
            if "input_audio_mtok" not in stated:
                yield "audio_input_tokens"
            if "output_audio_mtok" not in stated:
                yield "audio_output_tokens"
        if "output_image_mtok" not in stated:
            yield "image_output_tokens"
        if "input_image_mtok" not in stated and self.provider.id not in _IMAGES_AS_TEXT:
            yield "image_input_tokens"


class _Clocked:
    """A price with dates or times of day, looked up anew when it may have changed."""

    def __init__(self, entry: Entry, tier: str, asked: str, factor: float = 1.0) -> None:
        self._asked, self._factor = (entry, tier, asked), factor
        self._now: tuple[Price, float] = UNKNOWN, 0.0

    @property
    def bands(self) -> tuple[Band, ...]:
        return self._price().bands

    def times(self, factor: float) -> _Clocked:
        return _Clocked(*self._asked, self._factor * factor)

    def cost_usd(self, usage: Usage) -> float | None:
        return self._price().cost_usd(usage)

    def _price(self) -> Price:
        price, until = self._now
        now = time.time()
        if now < until:
            return price
        entry, tier, asked = self._asked
        price, end = entry.price_until(datetime.fromtimestamp(now, timezone.utc), tier, asked)
        price = price if self._factor == 1.0 else price.times(self._factor)
        price = price if self._factor == 1.0 else price.times(self._factor)
        self._now = price, end.timestamp()
        return price


class Listing:
    """One edition of the price list, indexed when it is made.

    ``edition`` says for people where its prices are from.
    """

    def __init__(self, listed: DataSnapshot) -> None:
        from genai_prices import types

        self.listed = listed
        fetched = f", fetched {listed.timestamp:%Y-%m-%d}" if listed.from_auto_update else ""
        self.edition = f"genai-prices {version('genai-prices')}{fetched}"
        self._providers = {_normal(provider.id): provider for provider in listed.providers}
        self._entries = {
            provider.id: [Entry(provider, model) for model in provider.models]
            for provider in listed.providers
        }
        self._patterns = {
            provider.id: Patterns((model.match for model in provider.models), types)
            for provider in listed.providers
        }

    def find(self, name: Name) -> Entry | None:
        """The entry that is this model; ``None`` where there is none that surely is."""
        if name in _STALE:
            return None
        if name.model.startswith("ft:"):
            return None  # the list gives some fine-tunes the price of their base, or no cached rate
        for provider in self._sellers(name):
            patterns, entries = self._patterns[provider.id], self._entries[provider.id]
            place = patterns.meant(name.model)
            if place is not None:
                found = entries[place]
                others = patterns.stands_for(name.model, provider.id in _BARE_ALIASES)
                # An alias that moves has the price of what it stands for, which nobody says.
                is_one = others is not None and all(found.costs_as(entries[o]) for o in others)
                return found if is_one else None
        return None

    def _sellers(self, name: Name) -> Iterator[Provider]:
        """A provider, then those whose models it sells at their price."""
        found = self._providers.get(name.provider)
        if found is not None:
            yield found
            makers = () if _OPEN_WEIGHTS.match(name.model) else _AT_THEIR_PRICE.get(name.provider)
            for maker in makers or ():
                if maker in self._providers:
                    yield self._providers[maker]


_listing: Listing | None = None


def listing() -> Listing | None:
    """The price list in use; ``None`` without the extra [prices]."""
    global _listing
    listed, known = snapshot(), _listing
    if listed is None:
        return None
    if known is None or known.listed is not listed:
        known = _listing = Listing(listed)
    return known


def find(name: Name) -> Entry | None:
    """The entry that is this model; ``None`` where there is none that surely is."""
    known = listing()
    return None if known is None else known.find(name)


def edition() -> str:
    """Where these prices are from, for people."""
    known = listing()
    return "" if known is None else known.edition


def provider_ids() -> list[str]:
    """Every provider that the list has prices of."""
    listed = snapshot()
    return [] if listed is None else [provider.id for provider in listed.providers]


def vendor_of(model: str) -> str | None:
    """The provider whose models have names like this one, if the list knows it."""
    listed = snapshot()
    if listed is None:
        return None
    try:
        return listed.find_provider(model.strip().lower(), None, None).id
    except LookupError:
        return None


def _normal(provider: str) -> str:
    return provider.lower().replace("-", "_")


def _rates(
    stated: Mapping[str, Decimal | TieredPrices], input_tokens: int, unknown: tuple[str, ...]
) -> Rates:
    """The rates for calls with this much input.

    A token is billed at the rate of the narrowest kind that has one, and so are all tokens of a
    call at the rates for the size of its input: the list's rules. To calculate the price of a token
    of each kind with genai-prices would take a hundred times as long, at the first call of a model.
    """

    def usd(unit: str) -> Decimal | None:
        rate = stated.get(unit)
        return rate if rate is None or isinstance(rate, Decimal) else _in_band(rate, input_tokens)

    requests, written = usd("requests_kcount"), usd("cache_write_mtok")
    written_5m, written_1h = usd("cache_write_5m_mtok"), usd("cache_write_1h_mtok")
    rates = Rates.of_usd(
        input=usd("input_mtok") or _ZERO,
        output=usd("output_mtok") or _ZERO,
        cache_read=usd("cache_read_mtok"),
        cache_creation=written if written_5m is None else written_5m,
        cache_creation_1h=written if written_1h is None else written_1h,
        reasoning=usd("output_reasoning_mtok"),
        audio_input=usd("input_audio_mtok"),
        audio_output=usd("output_audio_mtok"),
        image_input=usd("input_image_mtok"),
        image_output=usd("output_image_mtok"),
        request=None if requests is None else requests / 1000,
    )
    return replace(rates, unknown=unknown) if unknown else rates


def _in_band(rate: TieredPrices, input_tokens: int) -> Decimal:
    within = [step.price for step in rate.tiers if step.start < input_tokens]
    return within[-1] if within else rate.base


@cache
def _is_whole(units: frozenset[str]) -> bool:
    """Whether genai-prices calculates with rates for exactly these units.

    It refuses what has a rate for tokens of two kinds each, and none for those of both.
    """
    from genai_prices.types import ModelPrice
    from genai_prices.types import Usage as Counts

    try:
        ModelPrice(**dict.fromkeys(units, _ZERO)).calc_price(Counts())
    except ValueError:
        return False
    return True
