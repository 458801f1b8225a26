"""Which price a call has: the user's own, none for what is local, else the price list's."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

from agentmetrics.pricing import source
from agentmetrics.pricing.file import PriceFile
from agentmetrics.pricing.names import LOCAL_PROVIDERS, names_of
from agentmetrics.pricing.own import OwnPrices
from agentmetrics.pricing.rates import FREE, UNKNOWN, Band, Price
from agentmetrics.pricing.updates import Updates
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.metric import clean_label
from agentmetrics.recording.periodic import PeriodicFlush

logger = logging.getLogger("agentmetrics")

WATCH_SECONDS = 1.0
_MAX_PRICERS = 10_000
_NO_PRICES = OwnPrices()

_INPUT_KINDS = (
    (),
    ("cache_read_tokens",),
    ("cache_creation_tokens",),
    ("cache_creation_tokens", "cache_creation_1h_tokens"),
    ("audio_input_tokens",),
)
_OUTPUT_KINDS = ((), ("reasoning_tokens",), ("audio_output_tokens",))
"""The kinds of tokens, as the fields of ``Usage`` that say that all are of it."""

Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Quote:
    """A price, the names under which it was found, and where."""

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
        self.on_error: Callable[[str], None] = lambda event: None
        """Told of a file that cannot be used and of an update that failed: the event's name."""
        self._updates = updates
        self._update_failed = False
        self._pricers: dict[Key, Pricer] = {}
        self._followers: weakref.WeakSet[Pricer] = weakref.WeakSet()
        self._changing = threading.Lock()
        self._edition = 0
        self._unpriced: set[Key] = set()
        self._watch: tuple[_Watch, PeriodicFlush] | None = None
        _all.add(self)

    def cost_usd(
        self, provider: str, model: str, usage: Usage, service_tier: str = ""
    ) -> float | None:
        """The cost of one call in USD, a whole number of nano-dollars, or ``None``: see ``Price``.

        ``service_tier`` as ``agentmetrics.service_tier`` reads it, ``""`` for the standard one.
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
        """The most that so many tokens can cost, whatever kinds of tokens they turn out to be.

        A call that asks for a tier may be served in the standard one. ``None`` when nobody knows
        the price of either.
        """
        costs = [
            _most_usd(self.pricer(provider, model, tier).price, input_tokens, output_tokens)
            for tier in {"", service_tier}
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
        """The price of a model, looked up anew; ``None`` where nobody has one."""
        own = self.file.prices if self.file else _NO_PRICES
        provider, model = own.meant(provider, model)
        name = own.find(provider, model)
        if name is not None and self.file is not None:
            return Quote(*name, self.file.path.name, own.price(name, service_tier))
        for name in names_of(provider, model):
            if name.provider in LOCAL_PROVIDERS or name.provider in own.free_providers:
                return Quote(*name, "free by declaration", FREE)
            entry = source.find(name)
            if entry is not None:
                price = entry.price(service_tier, name.provider)
                return Quote(entry.provider.id, entry.model.id, source.edition(), price)
        return None

    def settle(self, pricer: Pricer) -> Price:
        """Look up what a pricer waits for."""
        edition = self._edition
        quote = None
        try:
            quote = self.find(*pricer.key)
        except Exception as error:  # a list that was updated may hold anything
            self._failed("price", f"no price was found: {type(error).__name__}")
        price = quote.price if quote else UNKNOWN
        with self._changing:
            if edition == self._edition:  # else it waits again
                pricer.price = price
        if not price.bands:
            self._tell_unpriced(pricer.key)
        return price

    def _tell_unpriced(self, key: Key) -> None:
        if key not in self._unpriced and len(self._unpriced) < _MAX_PRICERS:
            self._unpriced.add(key)
            provider, model, tier = map(clean_label, key)
            logger.warning(
                "nobody knows the price of %s of %s%s: its calls count as unpriced",
                model,
                provider,
                f" in the tier {tier}" if tier else "",
            )

    def watch(self) -> None:
        """Look at the file, and for updates, from now on; does nothing without either."""
        if self._watch is None and (self.file or self._updates):
            watch = _Watch(self)
            self._watch = watch, PeriodicFlush(watch, WATCH_SECONDS)

    def refresh(self) -> None:
        """Take up a file that has changed and prices that are newer. Blocks; never raises."""
        if self._reloaded() | self._updated():
            with self._changing:
                self._edition += 1
                for pricer in list(self._followers):
                    pricer.price = _Awaited(self, pricer)

    def _reloaded(self) -> bool:
        if self.file is None:
            return False
        try:
            return self.file.reload()
        except ValueError as mistake:
            self._failed("prices_file", f"{self.file.path}: {mistake}; the prices before are kept")
            return False

    def _updated(self) -> bool:
        if self._updates is None:
            return False
        try:
            updated = self._updates.fetch_if_due()
        except Exception as error:  # of the network, or of what came over it
            if not self._update_failed:
                logger.warning("newer prices could not be fetched: %s", type(error).__name__)
            self._update_failed = True
            self.on_error("prices_update")
            return False
        self._update_failed = self._update_failed and not updated
        return updated

    def _failed(self, event: str, sentence: str) -> None:
        logger.warning("%s", sentence)
        self.on_error(event)


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


_all: weakref.WeakSet[Prices] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for prices in _all:
        prices._changing = threading.Lock()  # which a thread of the parent may have held


os.register_at_fork(after_in_child=_after_fork_in_child)


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
        return self._prices.settle(self._pricer).bands

    def cost_usd(self, usage: Usage) -> float | None:
        return self._prices.settle(self._pricer).cost_usd(usage)
