"""Finished LLM calls as metrics."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from agentmetrics import catalog
from agentmetrics.calls.facts import UNKNOWN, LLMCall
from agentmetrics.calls.outcome import SUCCESS
from agentmetrics.meters.base import Instruments
from agentmetrics.meters.bundle import Bundles
from agentmetrics.meters.in_flight import InFlight, Oldest
from agentmetrics.meters.routing import RoutingMeter
from agentmetrics.meters.system import Memory
from agentmetrics.pricing import Price, Pricer, Prices
from agentmetrics.pricing.places import tier_at
from agentmetrics.providers.costs import GATEWAY, PROVIDER
from agentmetrics.providers.usage import Usage
from agentmetrics.recording.instruments import (
    Batch,
    Counter,
    CounterSeries,
    GaugeSeries,
    HistogramSeries,
    Instrument,
)
from agentmetrics.recording.layers.cardinality import OTHER
from agentmetrics.recording.lazily import lazily
from agentmetrics.recording.recorder import Wanted

S = TypeVar("S")

TOLD = frozenset({PROVIDER, GATEWAY})
"""Whose figures for a cost are compared with the list's."""

PROMPT_CACHE = "prompt_cache"
"""The intent under which stands what providers' prompt caches saved."""


MAX_ENDINGS = 100
"""Serving models and finish reasons of one label set whose series are kept."""


class LLMMeter:
    """The instruments of LLM calls, and what calls cost by ``prices``.

    With ``call_tokens`` there is also the distribution of their tokens.
    """

    def __init__(
        self,
        make: Instruments,
        prices: Prices,
        routing: RoutingMeter,
        memory: Memory,
        *,
        call_tokens: bool,
    ) -> None:
        self.make, self.prices, self.routing = make, prices, routing
        self.calls = make.counter(catalog.LLM_CALLS)
        self.errors = make.counter(catalog.LLM_ERRORS)
        self.tokens = make.counter(catalog.LLM_TOKENS)
        self.call_tokens = make.histogram(catalog.LLM_CALL_TOKENS)
        self.observes_tokens = call_tokens
        self.token_details = make.counter(catalog.LLM_TOKEN_DETAILS)
        self.cost = make.counter(catalog.LLM_COST)
        self.call_cost = make.histogram(catalog.LLM_CALL_COST)
        self.cost_difference = make.counter(catalog.LLM_COST_DIFFERENCE)
        self.unpriced = make.counter(catalog.LLM_UNPRICED_CALLS)
        self.served = make.counter(catalog.LLM_SERVED_CALLS)
        self.finish_reasons = make.counter(catalog.LLM_FINISH_REASONS)
        self.latency = make.histogram(catalog.LLM_LATENCY)
        self.api_latency = make.histogram(catalog.LLM_API_LATENCY)
        self.time_to_first_token = make.histogram(catalog.LLM_TIME_TO_FIRST_TOKEN)
        self.time_per_output_token = make.histogram(catalog.LLM_TIME_PER_OUTPUT_TOKEN)
        self.time_between_chunks = make.histogram(catalog.LLM_TIME_BETWEEN_CHUNKS)
        self.in_flight = InFlight(make, catalog.LLM_ACTIVE_CALLS, LLMCall, _active_labels)
        self.oldest = Oldest(make, catalog.LLM_OLDEST_ACTIVE_CALL, LLMCall)
        self.unmetered = make.counter(catalog.LLM_UNMETERED_CALLS)
        self.input_last_call = make.gauge(catalog.LLM_INPUT_TOKENS_LAST_CALL)
        self.output_last_call = make.gauge(catalog.LLM_OUTPUT_TOKENS_LAST_CALL)
        self.cache_hits = make.counter(catalog.LLM_CACHE_HITS)
        self.cache_misses = make.counter(catalog.LLM_CACHE_MISSES)
        self.batch, self.bind_each = make.recorder.batch, make.recorder.bind_each
        self.memory = memory
        self._step = make.recorder.update()
        self.expected: Bundles[ByEnding] = Bundles(self._expected, share=self._shared)
        """By the labels of calls and their extra labels, which all show 0: the series of those
        calls."""

    def price_by(self, prices: Prices) -> None:
        """Price calls by these from now on."""
        self.prices = prices
        self.expected.clear()  # each series has its pricer

    def expect(self, call: LLMCall) -> None:
        """Show calls, tokens, cost and errors with this call's labels as 0 from now on; cost where
        the model has a price."""
        if UNKNOWN not in (call.provider, call.model):  # else the response may name them
            self.expected[(call.agent_name, call.provider, call.model, call.extra)]

    def _shared(
        self, agent_name: str, provider: str, model: str, extra: tuple[str, ...]
    ) -> tuple[str, str, str, tuple[str, ...]]:
        """The labels whose series calls with these have, which are those of others past the
        cardinality limit: of any agent, but of a model whose price is the same."""
        own, told = (agent_name, provider, model), extra[: len(self.make.extra_labels)]
        if self.make.keeps(self.calls, (*own, SUCCESS, *told)):
            return (*own, extra)
        for of, values in ((self.tokens, catalog.TOKEN_TYPES), (self.errors, catalog.ERROR_TYPES)):
            self.make.keeps(of, (*own, values[0], *told))
        others: list[Instrument[Any]] = [self.latency, self.input_last_call, self.output_last_call]
        if self.prices.knows(provider, model):
            others += [self.cost, self.call_cost]
        for each in others:
            self.make.keeps(each, (*own, *told))
        has_own = self.make.keeps(self.api_latency, (agent_name, provider))
        return (agent_name if has_own else OTHER, provider, model, (OTHER,) * len(extra))

    def _expected(
        self, agent_name: str, provider: str, model: str, extra: tuple[str, ...]
    ) -> ByEnding:
        extra = extra[: len(self.make.extra_labels)]
        own = agent_name, provider, model
        zeros: list[Wanted] = [
            (of.metric, [(*own, value, *extra) for value in values])
            for of, values in (
                (self.calls, catalog.STATUSES),
                (self.tokens, catalog.TOKEN_TYPES),
                (self.errors, catalog.ERROR_TYPES),
            )
        ]
        if self.prices.knows(provider, model):  # what has no known price did not cost 0
            zeros.append((self.cost.metric, [(*own, *extra)]))
        self.bind_each(zeros)
        return Bundles(partial(_CallSeries, self, agent_name, provider, model, extra), MAX_ENDINGS)

    def record(self, call: LLMCall) -> None:
        """Record a finished call, all of it in one step; its ``cost_usd`` is filled in, unless it
        was told."""
        lookup = call.lookup
        if lookup is not None and lookup.found:
            self._hit(call)
            return
        by_ending = call.series
        if by_ending is None:
            by_ending = self.expected[(call.agent_name, call.provider, call.model, call.extra)]
        series = by_ending[(call.served_model, call.finish_reason)]
        memory, ended, usage = self.memory, call.ended, call.usage
        if ended >= memory.next_read:
            memory.read(ended)
        seconds = ended - call.started
        if call.service_tier or call.place:
            pricer = series.in_tier(tier_at(call.service_tier, call.place))
        else:
            pricer = series.pricer
        price = pricer.price
        cost = call.cost_usd
        if cost is None:
            if usage is not None:
                cost = call.cost_usd = price.cost_usd(usage)
        elif usage is not None and call.cost_source in TOLD:
            series.count_difference(cost, price.cost_usd(usage))
        with self._step:
            if (
                usage is None
                or cost is None
                or call.status != SUCCESS
                or seconds != seconds  # NaN: nobody knows when it began
                or (usage.has_details and usage.is_partial)  # what costs nothing has a price
            ):
                series.count_in_parts(call, seconds, price)
            else:
                if memory.in_mb:  # written out twice: unpacking would cost more than the gauge
                    series.count_billed(
                        usage.input_tokens, usage.output_tokens, cost,
                        usage.input_tokens, usage.output_tokens, memory.rss_bytes, memory.rss_mb,
                        seconds, call.api_seconds or seconds, cost,
                    )  # fmt: skip
                else:
                    series.count_billed(
                        usage.input_tokens, usage.output_tokens, cost,
                        usage.input_tokens, usage.output_tokens, memory.rss_bytes,
                        seconds, call.api_seconds or seconds, cost,
                    )  # fmt: skip
                if self.observes_tokens:
                    series.observe_tokens(usage.input_tokens, usage.output_tokens)
                if usage.has_details:
                    series.count_details(usage, price)
            if call.first_token:
                series.count_stream(call)
            if lookup is not None and lookup.found is False:
                self.cache_misses.labels(call.agent_name, call.model, *call.extra).inc()
            if call.run is not None and (usage is not None or cost is not None):
                call.run.tokens += usage.total_tokens if usage is not None else 0
                call.run.cost_usd += cost or 0.0

    def _hit(self, call: LLMCall) -> None:
        with self._step:
            self.cache_hits.labels(call.agent_name, call.model, *call.extra).inc()
            if call.run is not None:  # it was counted as a call when it started
                call.run.llm_calls -= 1


class _CallSeries:
    """The series of calls that are alike in all but numbers, each bound on first use."""

    def __init__(
        self,
        meter: LLMMeter,
        agent_name: str,
        provider: str,
        model: str,
        extra: tuple[str, ...],
        served_model: str,
        finish_reason: str,
    ) -> None:
        self._meter = meter
        self._agent_name, self._provider, self._model = agent_name, provider, model
        self._served_model, self._finish_reason = served_model, finish_reason
        self._own, self._extra = (agent_name, provider, model), extra
        self._adds: dict[tuple[str, str], Batch] = {}
        meter.in_flight.show((agent_name, provider))
        meter.oldest.show((agent_name,))
        self.pricer = self.in_tier("")

    def _of(self, instrument: Instrument[S], *more: str) -> S:
        """The series of these calls, with the value of the label that comes after the model's, if
        the metric has one."""
        return instrument.bind((*self._own, *more, *self._extra))

    def _wanted(self, instrument: Instrument[Any], *each: str) -> Wanted:
        """The same with each of these values, to be bound with others."""
        return instrument.metric, [(*self._own, value, *self._extra) for value in each]

    def in_tier(self, service_tier: str) -> Pricer:
        """The pricer of a tier that is priced apart, which few calls are served in."""
        priced = self._served_model or self._model
        return self._meter.prices.pricer(self._provider, priced, service_tier)

    @lazily
    def _ones(self) -> list[CounterSeries]:
        """What every success counts once."""
        return self._meter.bind_each(self._wanted_ones)

    @property
    def _wanted_ones(self) -> list[Wanted]:
        meter = self._meter
        ones = [self._wanted(meter.calls, SUCCESS)]
        if self._served_model:
            served = self._provider, self._model, self._served_model
            ones.append((meter.served.metric, [served]))
        if self._finish_reason:
            ones.append(self._wanted(meter.finish_reasons, self._finish_reason))
        return ones

    @lazily
    def _served(self) -> list[CounterSeries]:
        if not self._served_model:
            return []
        return [self._meter.served.bind((self._provider, self._model, self._served_model))]

    @lazily
    def count_billed(self) -> Batch:
        """A success whose tokens and price are known, which is nearly every call."""
        meter, ones = self._meter, self._wanted_ones
        own = [(*self._own, *self._extra)]  # one for all that have no label of their own
        bound = meter.bind_each(
            [
                *ones,
                self._wanted(meter.tokens, *catalog.TOKEN_TYPES),
                (meter.cost.metric, own),
                (meter.input_last_call.metric, own),
                (meter.output_last_call.metric, own),
                *meter.memory.rss_wanted(self._agent_name),
                (meter.latency.metric, own),
                (meter.api_latency.metric, [(self._agent_name, self._provider)]),
                (meter.call_cost.metric, own),
            ]
        )
        split = len(ones) + 3
        count = meter.batch(bound[:split], bound[split:-3], bound[-3:])
        return partial(count, *[1.0] * len(ones))

    @lazily
    def observe_tokens(self) -> Batch:
        """The tokens of one call as a distribution, in a batch of its own: few want it."""
        by_type = [
            self._of(self._meter.call_tokens, token_type) for token_type in catalog.TOKEN_TYPES
        ]
        return self._meter.batch((), (), by_type)

    @lazily
    def _memory_rss(self) -> list[GaugeSeries]:
        return self._meter.memory.rss_series(self._agent_name)

    @lazily
    def _latency(self) -> HistogramSeries:
        return self._of(self._meter.latency)

    @lazily
    def _api_latency(self) -> HistogramSeries:
        return self._meter.api_latency.bind((self._agent_name, self._provider))

    @lazily
    def _time_to_first_token(self) -> HistogramSeries:
        return self._of(self._meter.time_to_first_token)

    @lazily
    def _count_token_times(self) -> Batch:
        per_output_token = self._of(self._meter.time_per_output_token)
        return self._meter.batch((), (), (self._time_to_first_token, per_output_token))

    @lazily
    def _time_between_chunks(self) -> HistogramSeries:
        return self._of(self._meter.time_between_chunks)

    @lazily
    def _count_success(self) -> Batch:
        return partial(self._meter.batch(self._ones, (), ()), *[1.0] * len(self._ones))

    def _add(self, counter: Counter, label: str, value: str, amount: float) -> None:
        """Add to a counter that has one label more, with a fixed set of values."""
        add = self._adds.get((label, value))
        if add is None:
            batch = self._meter.batch((self._of(counter, value),), (), ())
            add = self._adds.setdefault((label, value), batch)
        add(amount)

    def count_in_parts(self, call: LLMCall, seconds: float, price: Price) -> None:
        """A call that ended otherwise, or whose tokens or price are not known."""
        if call.status == SUCCESS:
            self._count_success()
        else:
            self._add(self._meter.calls, "status", call.status, 1.0)
            for served in self._served:
                served.inc()
        if call.error_type:
            self._add(self._meter.errors, "error_type", call.error_type, 1.0)
        self._meter.memory.show(self._memory_rss)
        if not math.isnan(seconds):
            self._latency.observe(seconds)
            self._api_latency.observe(call.api_seconds or seconds)
        if call.usage is not None and not call.usage.is_empty:
            self._count_tokens(call.usage)
            self.count_details(call.usage, price)
            if call.cost_usd is None:
                self._meter.unpriced.labels(provider=self._provider, model=self._model).inc()
            else:
                self._count_cost(call.cost_usd)
        else:
            if call.status == SUCCESS:
                self._of(self._meter.unmetered).inc()
            if call.cost_usd:  # it was told
                self._count_cost(call.cost_usd)

    def _count_tokens(self, usage: Usage) -> None:
        if usage.input_tokens is not None:
            self._add(self._meter.tokens, "token_type", "input", usage.input_tokens)
            self._of(self._meter.input_last_call).set(usage.input_tokens)
            self._observe_tokens("input", usage.input_tokens)
        if usage.output_tokens is not None:
            self._add(self._meter.tokens, "token_type", "output", usage.output_tokens)
            self._of(self._meter.output_last_call).set(usage.output_tokens)
            self._observe_tokens("output", usage.output_tokens)

    def _observe_tokens(self, token_type: str, tokens: int) -> None:
        if self._meter.observes_tokens:
            self._of(self._meter.call_tokens, token_type).observe(tokens)

    def _count_cost(self, cost_usd: float) -> None:
        self._of(self._meter.cost).inc(cost_usd)
        self._of(self._meter.call_cost).observe(cost_usd)

    def count_difference(self, told: float, listed: float | None) -> None:
        """How far a cost that was told is from the list's, if that has one."""
        if listed is not None and told != listed:
            direction = "above" if told > listed else "below"
            difference = self._meter.cost_difference
            difference.labels(self._provider, self._model, direction).inc(abs(told - listed))

    def count_details(self, usage: Usage, price: Price) -> None:
        details = self._meter.token_details
        if usage.cache_read_tokens:
            self._add(details, "token_detail", "cache_read", usage.cache_read_tokens)
            self._count_saved(usage, price)
        if usage.cache_creation_tokens:
            self._add(details, "token_detail", "cache_creation", usage.cache_creation_tokens)
        if usage.reasoning_tokens:
            self._add(details, "token_detail", "reasoning", usage.reasoning_tokens)
        if usage.audio_input_tokens:
            self._add(details, "token_detail", "audio_input", usage.audio_input_tokens)
        if usage.audio_output_tokens:
            self._add(details, "token_detail", "audio_output", usage.audio_output_tokens)
        if usage.image_input_tokens:
            self._add(details, "token_detail", "image_input", usage.image_input_tokens)
        if usage.image_output_tokens:
            self._add(details, "token_detail", "image_output", usage.image_output_tokens)
        if usage.unknown_tokens:
            self._add(details, "token_detail", "unknown", usage.unknown_tokens)

    def _count_saved(self, usage: Usage, price: Price) -> None:
        """What the provider's prompt cache saved: the same tokens, had none been read from it."""
        cost, plain = price.cost_usd(usage), price.cost_usd(replace(usage, cache_read_tokens=0))
        if cost is not None and plain is not None and plain > cost:
            self._meter.routing.saved(PROMPT_CACHE, plain - cost)

    def count_stream(self, call: LLMCall) -> None:
        to_first = call.first_token - call.started
        tokens = call.usage.output_tokens if call.usage else None
        if tokens is not None and tokens > 1:
            self._count_token_times(to_first, (call.ended - call.first_token) / (tokens - 1))
        else:
            self._time_to_first_token.observe(to_first)
        if call.last_chunk:
            gap = call.longest_gap
            if call.status != SUCCESS:  # it may have stalled after its last chunk
                gap = max(gap, call.ended - call.last_chunk)
            if gap:
                self._time_between_chunks.observe(gap)


def _active_labels(call: LLMCall) -> tuple[str, ...]:
    return call.agent_name, call.provider


ByEnding = Bundles[_CallSeries]
"""The series of calls with the same labels, by the model that served and the finish reason."""
