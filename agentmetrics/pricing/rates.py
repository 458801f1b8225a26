"""What tokens cost: rates that are looked up once, so that a call's cost is a few additions.

Rates are in nano-dollars and a cost is rounded to whole ones, once: the counters, which add up
floats, and a ledger, which adds up integers, then agree to the nano-dollar.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Protocol, TypeVar

from agentmetrics.providers.usage import Usage

N = TypeVar("N", float, Decimal)

NANO = 1e9
"""Nano-dollars in a dollar."""

_PER_USD, _PER_MTOK = 10**9, 1000  # whole numbers: a decimal is multiplied by no float
"""Nano-dollars in a dollar, and nano-dollars a token that are one dollar per million tokens."""

MAX_RATE_USD = 1_000_000.0
"""Above it is no price of a million tokens, or of a request."""

_ROUNDING = -1e-6
"""Nano-dollars below 0 that differences of rates come to where a rate is 0."""

Band = tuple[int, "Rates"]
"""Rates for calls of more than this many input tokens."""


class Price(Protocol):
    """What the calls of one model cost."""

    def cost_usd(self, usage: Usage) -> float | None:
        """The cost of one call in USD, a whole number of nano-dollars.

        ``None`` when it is unknown, or when the provider did not report the tokens in both
        directions: part of a cost is not the cost.
        """

    @property
    def bands(self) -> tuple[Band, ...]:
        """The current rates, by input size; empty if unknown."""

    def times(self, factor: float) -> Price:
        """Every rate multiplied."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Nano-dollars for one token of each kind, and for a call.

    The parts hold the difference to the plain rate of the whole they belong to; the part kept
    for an hour that to the rest of what was written to the cache. ``unknown`` names the parts
    whose rate is unknown: fields of ``Usage``.
    """

    request: float
    input: float
    output: float
    cache_read: float = 0.0
    cache_creation: float = 0.0
    cache_creation_1h: float = 0.0
    reasoning: float = 0.0
    audio_input: float = 0.0
    audio_output: float = 0.0
    image_input: float = 0.0
    image_output: float = 0.0
    unknown: tuple[str, ...] = ()

    @classmethod
    def of_usd(
        cls,
        *,
        input: N,
        output: N,
        cache_read: N | None = None,
        cache_creation: N | None = None,
        cache_creation_1h: N | None = None,
        reasoning: N | None = None,
        audio_input: N | None = None,
        audio_output: N | None = None,
        image_input: N | None = None,
        image_output: N | None = None,
        request: N | None = None,
    ) -> Rates:
        """Rates from USD per million tokens, and USD a request; a part without one is as its whole.

        What is kept for an hour is as other cache creation.
        """

        def part(rate: N | None, whole: N) -> float:
            return 0.0 if rate is None else float((rate - whole) * _PER_MTOK)

        return cls(
            request=0.0 if request is None else float(request * _PER_USD),
            input=float(input * _PER_MTOK),
            output=float(output * _PER_MTOK),
            cache_read=part(cache_read, input),
            cache_creation=part(cache_creation, input),
            cache_creation_1h=part(
                cache_creation_1h, input if cache_creation is None else cache_creation
            ),
            reasoning=part(reasoning, output),
            audio_input=part(audio_input, input),
            audio_output=part(audio_output, output),
            image_input=part(image_input, input),
            image_output=part(image_output, output),
        )

    def in_usd(self) -> dict[str, float | None]:
        """What ``of_usd`` takes; ``None`` for a part whose rate is unknown."""
        usd = {
            part: None if f"{part}_tokens" in self.unknown else round(rate / _PER_MTOK, 9)
            for part, rate in self._whole().items()
        }
        return {**usd, "request": self.request / NANO}

    @property
    def is_plausible(self) -> bool:
        """Whether each rate is one that can be: sums of such costs stay finite."""
        rates = (*self._whole().values(), self.request / _PER_USD * _PER_MTOK)
        return all(_ROUNDING <= rate <= MAX_RATE_USD * _PER_MTOK for rate in rates)

    def _whole(self) -> dict[str, float]:
        """Nano-dollars for one token of each kind, not the difference to another."""
        created = self.input + self.cache_creation
        return {
            "input": self.input,
            "output": self.output,
            "cache_read": self.input + self.cache_read,
            "cache_creation": created,
            "cache_creation_1h": created + self.cache_creation_1h,
            "reasoning": self.output + self.reasoning,
            "audio_input": self.input + self.audio_input,
            "audio_output": self.output + self.audio_output,
            "image_input": self.input + self.image_input,
            "image_output": self.output + self.image_output,
        }

    def times(self, factor: float) -> Rates:
        """Every rate multiplied."""
        if factor == 1.0:
            return self
        rates = {n: getattr(self, n) * factor for n in self.__slots__ if n != "unknown"}
        return replace(self, **rates)

    @property
    def bands(self) -> tuple[Band, ...]:
        return ((0, self),)

    def cost_usd(self, usage: Usage) -> float | None:
        input_tokens, output_tokens = usage.input_tokens, usage.output_tokens
        if input_tokens is None or output_tokens is None:
            return None
        cost = self.request + input_tokens * self.input + output_tokens * self.output
        if usage.has_details:
            if not usage.is_bill:
                return None
            if usage.cache_read_tokens:
                cost += usage.cache_read_tokens * self.cache_read
            if usage.cache_creation_tokens:
                cost += usage.cache_creation_tokens * self.cache_creation
            if usage.cache_creation_1h_tokens:
                cost += usage.cache_creation_1h_tokens * self.cache_creation_1h
            if usage.reasoning_tokens:
                cost += usage.reasoning_tokens * self.reasoning
            if usage.audio_output_tokens:
                cost += usage.audio_output_tokens * self.audio_output
            if usage.audio_input_tokens:
                # No provider says how much of the audio came from the cache, at another rate.
                if self.audio_input and (usage.cache_read_tokens or usage.cache_creation_tokens):
                    return None
                cost += usage.audio_input_tokens * self.audio_input
            if usage.image_output_tokens:
                cost += usage.image_output_tokens * self.image_output
            if usage.image_input_tokens:
                if self.image_input and (usage.cache_read_tokens or usage.cache_creation_tokens):
                    return None
                cost += usage.image_input_tokens * self.image_input
            if usage.unknown_tokens:  # of a rate that nobody knows
                return None
            for part in self.unknown:
                if getattr(usage, part):
                    return None
        return (cost + 0.5) // 1.0 / 1e9


@dataclass(frozen=True, slots=True)
class InputOnly:
    """Rates of what only takes input, as embeddings do; output has no rate that is known."""

    rates: Rates

    @property
    def bands(self) -> tuple[Band, ...]:
        return self.rates.bands

    def times(self, factor: float) -> InputOnly:
        return InputOnly(self.rates.times(factor))

    def cost_usd(self, usage: Usage) -> float | None:
        if usage.output_tokens or not usage.is_bill:
            return None
        known = usage if usage.output_tokens == 0 else replace(usage, output_tokens=0)
        return self.rates.cost_usd(known)


@dataclass(frozen=True, slots=True)
class Detailed:
    """A price that is known of calls whose provider says how many tokens are of some kinds.

    ``needed`` names these, as fields of ``Usage``: a model that answers in images, too, has a rate
    for them far from that of text.
    """

    price: Price
    needed: tuple[str, ...]

    @property
    def bands(self) -> tuple[Band, ...]:
        return self.price.bands

    def times(self, factor: float) -> Detailed:
        return Detailed(self.price.times(factor), self.needed)

    def cost_usd(self, usage: Usage) -> float | None:
        told = usage.has_details and all(getattr(usage, n) is not None for n in self.needed)
        return self.price.cost_usd(usage) if told else None


@dataclass(frozen=True, slots=True)
class Stepped:
    """Rates that depend on how much input a call has, all its tokens being billed at one band's."""

    bands: tuple[Band, ...]

    def times(self, factor: float) -> Stepped:
        return Stepped(tuple((limit, rates.times(factor)) for limit, rates in self.bands))

    def cost_usd(self, usage: Usage) -> float | None:
        if usage.input_tokens is None:
            return None
        for more_than, rates in reversed(self.bands):
            if usage.input_tokens > more_than:
                return rates.cost_usd(usage)
        return self.bands[0][1].cost_usd(usage)


def is_plausible(price: Price) -> bool:
    """Whether each of its rates is one that can be."""
    return all(rates.is_plausible for _, rates in price.bands)


class _Unknown:
    bands: tuple[Band, ...] = ()

    def times(self, factor: float) -> Price:
        return self

    def cost_usd(self, usage: Usage) -> None:
        return None


class _Free:
    bands: tuple[Band, ...] = Rates(0.0, 0.0, 0.0).bands

    def times(self, factor: float) -> Price:
        return self

    def cost_usd(self, usage: Usage) -> float:
        return 0.0


UNKNOWN: Price = _Unknown()
"""Nobody knows it, which is not 0."""

FREE: Price = _Free()
"""0, whatever the provider says of tokens."""
