"""Which price a call has: the user's own, zero for local providers, or the price list's."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

from agentmetrics.pricing import source
from agentmetrics.pricing.file import PriceFile
from agentmetrics.pricing.names import LOCAL_PROVIDERS, listed_names
from agentmetrics.pricing.own import OwnPrices
from agentmetrics.pricing.places import factor_at, place_in, tier_and_place, tier_at
from agentmetrics.pricing.rates import FREE, UNKNOWN, Band, Price, is_plausible
from agentmetrics.pricing.updates import Updates
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.fork import held_lock
from agentmetrics.recording.log_once import LogOnce
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.periodic import PeriodicFlush
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")

WATCH_SECONDS = 1.0
_MAX_PRICERS = 10_000
_NO_PRICES = OwnPrices()
_UPDATE = "prices_update"

_INPUT_KINDS = (
    (),
    ("cache_read_tokens",),
    ("cache_creation_tokens",),
    ("cache_creation_tokens", "cache_creation_1h_tokens"),
    ("audio_input_tokens",),
    ("image_input_tokens",),
)
_OUTPUT_KINDS = ((), ("reasoning_tokens",), ("audio_output_tokens",), ("image_output_tokens",))
"""The kinds of tokens, as the fields of ``Usage`` that say that all are of it."""

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Quote:
    """A price, the names under which it was found, and its source."""

    provider: str
    model: str
    source: str
    price: Price


class Pricer:
    """What calls of one model cost; its ``price`` is another when prices change."""

    __slots__ = ("__weakref__", "key", "price")

    price: Price

    def __init__(self, key: Key) -> None:
        self.key = key


class Prices:
    """What calls cost: one pricer for each provider, model and service tier that is asked for.

    ``file`` has the user's own prices, ``updates`` fetches newer ones for the list; both are
    looked after by a thread once ``watch`` was called. Without them there is no thread, and
    never a network.
    """

    def __init__(self, file: PriceFile | None = None, updates: Updates | None = None) -> None:
        self.file = file
        self._on_error: list[weakref.WeakMethod[Callable[[str], None]]] = []
        self._updates = updates
        source.load()
        self._pricers: dict[Key, Pricer] = {}
        self._quotes: dict[Key, Quote | None] = {}
        self._followers: weakref.WeakSet[Pricer] = weakref.WeakSet()
        self._changing = held_lock()
        self._edition = 0
        self._problems = LogOnce()
        self._watch: tuple[_Watch, PeriodicFlush] | None = None

    def cost_usd(
        self, provider: str, model: str, usage: Usage, service_tier: str = ""
    ) -> float | None:
        """The cost of one call in USD, a whole number of nano-dollars, or ``None``: see ``Price``.

        ``service_tier`` as ``agentmetrics.service_tier`` reads it, ``""`` for the standard one;
        with an ``@`` and a region where that is known.
        """
        return self.pricer(provider, model, service_tier).price.cost_usd(usage)

    def most_usd(
        self,
        provider: str,
        model: str,
        input_tokens: int,
        output_tokens: int,
        service_tier: str = "",
    ) -> float | None:
        """The most that this many tokens can cost, whatever kinds of tokens they turn out to be.

        A call that requests a tier may be served in the standard one. ``None`` when the price of
        either is unknown.
        """
        _, place = tier_and_place(service_tier)
        costs = [
            _most_usd(self.pricer(provider, model, tier).price, input_tokens, output_tokens)
            for tier in {tier_at("", place), service_tier}
        ]
        known = [cost for cost in costs if cost is not None]
        return max(known) if len(known) == len(costs) else None

    def pricer(self, provider: str, model: str, service_tier: str = "") -> Pricer:
        """What ``cost_usd`` asks, to be kept: ``pricer.price`` follows when prices change."""
        key = (provider, model, service_tier)
        found = self._pricers.get(key)
        if found is None:
            if len(self._pricers) >= _MAX_PRICERS:
                self._pricers.clear()
            new = Pricer(key)
            with self._changing:
                new.price = _Awaited(self, new)
                self._followers.add(new)
            found = self._pricers.setdefault(key, new)
        return found

    def find(self, provider: str, model: str, service_tier: str = "") -> Quote | None:
        """The price of a model, looked up again; ``None`` if there is none."""
        own = self.file.prices if self.file else _NO_PRICES
        tier, place = tier_and_place(service_tier)
        place = place or place_in(model)
        provider, model = own.meant(provider, model)
        name = own.find(provider, model)
        if name is not None and self.file is not None:
            return Quote(*name, self.file.path.name, own.price(name, tier, place))
        for name in listed_names(provider, model):
            if name.provider in LOCAL_PROVIDERS or name.provider in own.free_providers:
                return Quote(*name, "free by declaration", FREE)
            entry = source.find(name)
            if entry is not None:
                price = entry.price(tier, name.provider)
                factor = factor_at(name, place, provider)
                if factor != 1.0:
                    price = UNKNOWN if factor is None else price.times(factor)
                return Quote(entry.provider.id, entry.model.id, source.edition(), price)
        return None

    def knows(self, provider: str, model: str) -> bool:
        """Whether ``find`` finds this model."""
        return self._quote((provider, model, "")) is not None

    def _quote(self, key: Key) -> Quote | None:
        """What ``find`` returns, looked up once for as long as prices stay the same."""
        with suppress(KeyError):
            return self._quotes[key]
        edition, quote = self._edition, self.find(*key)
        with self._changing:
            if edition == self._edition:
                if len(self._quotes) >= _MAX_PRICERS:
                    self._quotes.clear()
                self._quotes[key] = quote
        return quote

    def report_to(self, on_error: Callable[[str], None]) -> None:
        """Call this method, for as long as its object lives, with the name of the event where a
        file cannot be used or an update has failed."""
        self._on_error.append(weakref.WeakMethod(on_error))

    def look_up(self, pricer: Pricer) -> Price:
        """Look up what a pricer waits for."""
        edition = self._edition
        quote = None
        try:
            quote = self._quote(pricer.key)
        except Exception as error:  # a list that was updated may hold anything
            self._failed("price", f"no price was found: {type(error).__name__}")
        price = quote.price if quote else UNKNOWN
        if not is_plausible(price):
            self._failed("price", "the price of a model is no number that can be: it is left out")
            price = UNKNOWN
        with self._changing:
            if edition == self._edition:  # else it waits again
                pricer.price = price
        if not price.bands:
            self._warn_unpriced(pricer.key)
        return price

    def _warn_unpriced(self, key: Key) -> None:
        provider, model, tier = map(clean_label, key)
        tier, place = tier_and_place(tier)
        in_tier = (f" in tier {tier}" if tier else "") + (f" at {place}" if place else "")
        self._problems.warn(
            key,
            "no price found for %s (%s)%s; its calls are counted as unpriced",
            model, provider, in_tier,
        )  # fmt: skip

    def watch(self) -> None:
        """Look at the file, and for updates, from now on; does nothing without either."""
        if self._watch is None and (self.file or self._updates):
            watch = _Watch(self)
            self._watch = watch, PeriodicFlush(watch, WATCH_SECONDS)

    def refresh(self) -> None:
        """Reload a changed file and fetch newer prices. Blocks; never raises."""
        if self._reloaded() | self._updated():
            with self._changing:
                self._edition += 1
                self._quotes.clear()
                for pricer in list(self._followers):
                    pricer.price = _Awaited(self, pricer)

    def _reloaded(self) -> bool:
        if self.file is None:
            return False
        try:
            return self.file.reload()
        except ValueError as mistake:
            self._failed(
                "prices_file", f"{self.file.path}: {mistake}; the previous prices stay in use"
            )
            return False

    def _updated(self) -> bool:
        if self._updates is None:
            return False
        try:
            updated = self._updates.fetch_if_due()
        except Exception as error:  # of the network, or of what came over it
            self._problems.warn(
                _UPDATE, "newer prices could not be fetched: %s", type(error).__name__
            )
            self._report(_UPDATE)
            return False
        if updated:
            source.load()
            self._problems.over(_UPDATE)
        return updated

    def _failed(self, event: str, sentence: str) -> None:
        logger.warning("%s", sentence)
        self._report(event)

    def _report(self, event: str) -> None:
        for reference in self._on_error:
            on_error = reference()
            if on_error is not None:
                on_error(event)


def _most_usd(price: Price, input_tokens: int, output_tokens: int) -> float | None:
    """Within a band a cost is linear, so it is highest at its end, with one kind of tokens."""
    sizes = [more_than for more_than, _ in price.bands if 0 < more_than < input_tokens]
    usages = (
        Usage(
            size,
            output_tokens,
            **dict.fromkeys(kind_in, size),
            **dict.fromkeys(kind_out, output_tokens),
        )
        for size in (*sizes, input_tokens)
        for kind_in, kind_out in product(_INPUT_KINDS, _OUTPUT_KINDS)
    )
    costs = [cost for usage in usages if (cost := price.cost_usd(usage)) is not None]
    return max(costs, default=None)


class _Watch:
    """What the thread calls; it goes with its prices."""

    def __init__(self, prices: Prices) -> None:
        self._prices = weakref.ref(prices)

    def flush(self) -> None:
        prices = self._prices()
        if prices is not None:
            prices.refresh()


class _Awaited:
    """The price of a model that is looked up when its first call has ended."""

    __slots__ = ("_pricer", "_prices")

    def __init__(self, prices: Prices, pricer: Pricer) -> None:
        self._prices, self._pricer = prices, pricer

    @property
    def bands(self) -> tuple[Band, ...]:
        return self._prices.look_up(self._pricer).bands

    def times(self, factor: float) -> Price:
        return self._prices.look_up(self._pricer).times(factor)

    def cost_usd(self, usage: Usage) -> float | None:
        return self._prices.look_up(self._pricer).cost_usd(usage)
