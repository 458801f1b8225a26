"""The price list of genai-prices: which of its entries a model is, and what that costs.

With ``patterns``, the one module that knows the shapes of that package. It is imported when the
first ``Prices`` are made, never at a call: a child that is forked while a thread imports would wait
for that thread for ever.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from datetime import time as time_of_day
from decimal import Decimal
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
    from genai_prices.types import ModelInfo, ModelPrice, Provider
    from genai_prices.types import Usage as Counts

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
        if prices is None:
            return UNKNOWN
        try:
            return self._price_of(prices, factor)
        except ValueError:  # genai-prices, of prices that contradict each other
            return UNKNOWN

    def _price_of(self, prices: ModelPrice, factor: float) -> Price:
        stated = {key: rate for key, rate in vars(prices).items() if rate is not None}
        if not stated:
            return FREE if self.model.id.endswith(":free") else UNKNOWN
        input_only = "output_mtok" not in stated
        expected = _COUNTED | _FEES | (_NOT_TEXT if input_only else frozenset())
        if "input_mtok" not in stated or not stated.keys() <= expected:
            return UNKNOWN
        unknown = tuple(self._without_rate(stated))
        limits = {step.start for rate in stated.values() for step in getattr(rate, "tiers", ())}
        bands = tuple(
            (limit, _measured(prices, stated.keys(), limit + 1, unknown).times(factor))
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


_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]] = {
    "cache_read": (("cache_read_mtok",), (), ("cache_read_tokens",)),
    "cache_creation": (
        ("cache_write_mtok", "cache_write_5m_mtok"), (), ("cache_creation_tokens",),
    ),
    "cache_creation_1h": (
        ("cache_write_1h_mtok", "cache_write_5m_mtok"),
        ("cache_creation_tokens",),
        ("cache_creation_tokens", "cache_creation_1h_tokens"),
    ),
    "reasoning": (
        ("output_reasoning_mtok",), ("output_tokens",), ("output_tokens", "reasoning_tokens"),
    ),
    "audio_input": (("input_audio_mtok", "cache_audio_read_mtok"), (), ("audio_input_tokens",)),
    "audio_output": (
        ("output_audio_mtok",), ("output_tokens",), ("output_tokens", "audio_output_tokens"),
    ),
    "image_input": (("input_image_mtok", "cache_image_read_mtok"), (), ("image_input_tokens",)),
    "image_output": (
        ("output_image_mtok",), ("output_tokens",), ("output_tokens", "image_output_tokens"),
    ),
}  # fmt: skip
"""By part of ``Rates``: the units that give it a rate of its own, the kinds of tokens that it
belongs to, and with these the part itself."""


def _measured(
    prices: ModelPrice, stated: Set[str], input_tokens: int, unknown: tuple[str, ...]
) -> Rates:
    """The rates for calls with this much input, from one full calculation for each kind of token
    that has a rate of its own.

    A price is linear in every count as long as the input stays within its band, so one token
    of a kind has its rate.
    """

    def nano(*one_of: str) -> Decimal:
        usage = Usage(
            **{"input_tokens": input_tokens, "output_tokens": 0, **dict.fromkeys(one_of, 1)}
        )
        return prices.calc_price(_counts(usage))["total_price"] * 10**9

    request = Decimal(0)
    if "requests_kcount" in stated:
        request = prices.calc_price(_counts(Usage(0, 0)))["total_price"] * 10**9
    base, output = nano(), nano("output_tokens")
    whole = {(): base, ("output_tokens",): output}
    parts = {
        part: float(nano(*kinds) - (whole[of] if of in whole else nano(*of)))
        for part, (units, of, kinds) in _PARTS.items()
        if not stated.isdisjoint(units)
    }
    return Rates(
        request=float(request),
        input=float((base - request) / input_tokens),
        output=float(output - base),
        **parts,
        unknown=unknown,
    )


def _counts(usage: Usage) -> Counts:
    """A usage in the price list's words."""
    from genai_prices.types import Usage as Counts

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
        "input_image_tokens": usage.image_input_tokens or 0,
        "output_image_tokens": usage.image_output_tokens or 0,
    }
    reported = {name: count for name, count in counts.items() if count}
    return Counts(cache_audio_read_tokens=0, **reported)
