"""Usage to USD: equal to genai-prices' full calculation, and never a guess."""

from __future__ import annotations

import sys
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import types
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmetrics import Usage, pricing
from agentmetrics.pricing import Price, Prices, Rates, prices, source
from agentmetrics.pricing.names import Name
from agentmetrics.pricing.rates import FREE, UNKNOWN, InputOnly, Stepped
from agentmetrics.pricing.source import Entry

MODELS = [
    Entry(provider, model)
    for provider in get_snapshot().providers
    for model in provider.models
    if Entry(provider, model).price("", provider.id).bands
]
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=timezone.utc)


def rates_of(entry: Entry) -> tuple[str, ...]:
    """What a model has rates for, and which of them depend on the size of the input."""
    stated = vars(entry.model.get_prices(NOW))
    return tuple(
        f"{unit} in steps" if isinstance(rate, types.TieredPrices) else unit
        for unit, rate in sorted(stated.items())
        if rate is not None
    )


ONE_OF_EACH_KIND = {rates_of(entry): entry for entry in MODELS}


@pytest.fixture
def clock(monkeypatch):
    """The time of day that prices go by, in seconds since the epoch: ``clock[0]``."""
    now = [NOW.timestamp()]
    monkeypatch.setattr("time.time", lambda: now[0])
    return now


@st.composite
def usages(draw):
    """Usage that a provider could have reported."""
    count = st.integers(0, 300_000)
    input_tokens, output_tokens = draw(count), draw(count)
    read = draw(st.integers(0, input_tokens))
    created = draw(st.integers(0, input_tokens - read))
    audio = draw(st.integers(0, input_tokens - read - created))
    reasoning = draw(st.integers(0, output_tokens))
    return Usage(
        input_tokens,
        output_tokens,
        cache_read_tokens=read,
        cache_creation_tokens=created,
        cache_creation_1h_tokens=draw(st.integers(0, created)),
        reasoning_tokens=reasoning,
        audio_input_tokens=audio,
        image_input_tokens=0,
        image_output_tokens=draw(st.sampled_from((0, 0, output_tokens - reasoning))),
    )


def price_of(provider: str, model: str) -> Price:
    quote = Prices().find(provider, model)
    assert quote
    return quote.price


def full_calculation(entry: Entry, usage: Usage, when: datetime = NOW, **context: str) -> float:
    """What genai-prices says, to the nano-dollar."""
    created, created_1h = usage.cache_creation_tokens or 0, usage.cache_creation_1h_tokens or 0
    counts = {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens or 0,
        "cache_write_tokens": created,
        "cache_write_1h_tokens": created_1h,
        "cache_write_5m_tokens": created - created_1h,
        "input_audio_tokens": usage.audio_input_tokens or 0,
        "output_audio_tokens": usage.audio_output_tokens or 0,
        "output_reasoning_tokens": usage.reasoning_tokens or 0,
        "output_image_tokens": usage.image_output_tokens or 0,
        "cache_audio_read_tokens": 0,
    }
    found = entry.model.calc_price(
        types.Usage(**counts),
        entry.provider,
        genai_request_timestamp=when,
        price_context=context or None,
    )
    return int(found.total_price * 10**9 + Decimal("0.5")) / 1e9


def has_a_part_without_a_rate(price: Price, usage: Usage) -> bool:
    cached = usage.cache_read_tokens or usage.cache_creation_tokens
    return bool(
        any(getattr(usage, part) for part in price.bands[0][1].unknown)
        or (usage.audio_input_tokens and cached)
        or (isinstance(price, InputOnly) and usage.output_tokens)
    )


def cost(provider: str, model: str, usage: Usage, tier: str = "") -> float | None:
    return Prices().cost_usd(provider, model, usage, tier)


class TestACost:
    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(MODELS) - 1), usages())
    def test_a_cost_is_that_of_genai_prices_for_every_model(self, number, usage):
        entry = MODELS[number]
        price, _ = entry.price_until(NOW, "", entry.provider.id)
        found = price.cost_usd(usage)
        if found is None:
            assert has_a_part_without_a_rate(price, usage)
            return
        assert found == pytest.approx(full_calculation(entry, usage), abs=1.01e-9)

    @pytest.mark.parametrize(
        "entry", ONE_OF_EACH_KIND.values(), ids=map(" ".join, ONE_OF_EACH_KIND)
    )
    def test_a_cost_is_that_of_genai_prices_for_every_set_of_rates(self, entry):
        price, _ = entry.price_until(NOW, "", entry.provider.id)
        sizes = {100, *(size + more for size, _ in price.bands for more in (-1, 0, 1, 2))}
        kinds = [
            {},
            {"cache_read_tokens": 7},
            {"cache_creation_tokens": 7},
            {"cache_creation_tokens": 7, "cache_creation_1h_tokens": 3},
            {"reasoning_tokens": 7},
            {"audio_input_tokens": 7},
            {"image_output_tokens": 7},
        ]
        images = {"image_input_tokens": 0, "image_output_tokens": 0}
        counts = [images | kind for kind in kinds]
        for usage in (Usage(size, 50, **kind) for size in sizes if size > 7 for kind in counts):
            found = price.cost_usd(usage)
            if found is None:
                assert has_a_part_without_a_rate(price, usage)
            else:
                assert found == pytest.approx(full_calculation(entry, usage), abs=1.01e-9)

    def test_a_cost_of_a_known_call_is_what_the_price_list_says(self):
        # USD 2.50 and 10.00 a million, cached input 1.25: openai.com/api/pricing, gpt-4o
        usage = Usage(1000, 100, cache_read_tokens=400)
        assert cost("openai", "gpt-4o", usage) == (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6

    def test_a_cost_counts_a_kept_hour_of_cache_more_than_five_minutes(self):
        short = Usage(1000, 0, cache_creation_tokens=1000)
        long = Usage(1000, 0, cache_creation_tokens=1000, cache_creation_1h_tokens=1000)
        assert cost("anthropic", "claude-haiku-4-5", short) == 1.25e-3
        assert cost("anthropic", "claude-haiku-4-5", long) == 2e-3

    def test_a_cost_has_audio_at_its_own_rate(self):
        # USD 32 and 64 a million tokens of audio: openai.com/api/pricing, gpt-audio
        usage = Usage(1000, 500, audio_input_tokens=200, audio_output_tokens=100)
        expected = (800 * 2.5 + 200 * 32 + 400 * 10 + 100 * 64) / 1e6
        assert cost("openai", "gpt-audio", usage) == expected

    def test_a_cost_has_reasoning_at_the_rate_of_output_where_it_has_none_of_its_own(self):
        plain, reasoning = Usage(10, 100), Usage(10, 100, reasoning_tokens=90)
        assert cost("openai", "o3-mini", plain) == cost("openai", "o3-mini", reasoning)

    def test_a_cost_has_a_fee_for_the_request_where_there_is_one(self):
        # USD 1 a million tokens and 12 for a thousand requests: docs.perplexity.ai, sonar
        assert cost("perplexity", "sonar", Usage(1000, 1000)) == 0.002 + 0.012

    def test_a_cost_is_a_whole_number_of_nano_dollars(self):
        usage = Usage(333, 77, cache_read_tokens=111)
        found = cost("deepseek", "deepseek-v4-flash", usage)
        assert found
        assert found == round(found * 1e9) / 1e9

    @given(st.integers(0, 2**53), st.integers(0, 2**53), st.floats(0, 1000), st.floats(0, 1000))
    def test_a_cost_can_be_had_back_as_an_integer(self, input_tokens, output_tokens, input, output):
        rates = Rates.of_usd(input=input, output=output)
        found = rates.cost_usd(Usage(input_tokens % 10**9, output_tokens % 10**9))
        assert found is not None
        assert round(found * 1e9) / 1e9 == found

    @pytest.mark.parametrize("provider", sorted(pricing.LOCAL_PROVIDERS))
    def test_a_cost_of_a_local_model_is_zero(self, provider):
        assert cost(provider, "anything", Usage(10, 10)) == 0
        assert cost(provider, "anything", Usage()) == 0

    def test_a_cost_of_a_model_that_its_provider_gives_away_is_zero(self):
        assert cost("openrouter", "google/gemma-4-31b-it:free", Usage(10, 10)) == 0

    def test_a_cost_of_an_embedding_needs_no_output(self):
        # USD 0.02 a million: openai.com/api/pricing
        for usage in (Usage(1000, 0), Usage(1000)):
            assert cost("openai", "text-embedding-3-small", usage) == 2e-5


class TestAPriceThatDependsOnTheInput:
    @pytest.mark.parametrize(("tokens", "rate"), [(200_000, 3), (200_001, 6), (900_000, 6)])
    def test_a_price_that_depends_on_the_input_bills_every_token_at_the_rate_of_its_band(
        self, tokens, rate
    ):
        # above 200,000 tokens of input: docs.claude.com, pricing of Sonnet 4.5
        found = cost("anthropic", "claude-sonnet-4-5", Usage(tokens, 0))
        assert found == tokens * rate / 1e6

    def test_a_price_that_depends_on_the_input_shows_its_bands(self):
        bands = price_of("google_genai", "gemini-2.5-pro").bands
        assert [(above, rates.in_usd()["output"]) for above, rates in bands] == [
            (0, 10.0),
            (200_000, 15.0),
        ]

    def test_a_price_that_depends_on_the_input_is_the_lowest_bands_for_no_input(self):
        assert cost("google_genai", "gemini-2.5-pro", Usage(0, 100)) == 1e-3

    def test_a_price_that_depends_on_the_input_knows_no_cost_without_the_input(self):
        assert cost("google_genai", "gemini-2.5-pro", Usage(None, 100)) is None


class TestAPriceThatChangesWithTheClock:
    @pytest.mark.parametrize("hour", range(24))
    def test_a_price_that_changes_with_the_clock_is_that_of_the_time_of_day(self, clock, hour):
        entry = source.find(Name("deepseek", "deepseek-flash"))
        assert entry
        when = NOW.replace(hour=hour)
        clock[0] = when.timestamp()
        found = cost("deepseek", "deepseek-flash", Usage(1_000_000, 0))
        assert found == full_calculation(entry, Usage(1_000_000, 0), when)

    def test_a_price_that_changes_with_the_clock_follows_the_time_of_day_once_it_is_bound(
        self, clock
    ):
        # a quarter of an hour around each edge: 01:00, 04:00, 06:00 and 10:00 UTC
        pricer = Prices().pricer("deepseek", "deepseek-flash")
        found = []
        for hour, minute in ((0, 45), (1, 15), (3, 45), (4, 15), (6, 15), (10, 15), (23, 59)):
            clock[0] = NOW.replace(hour=hour, minute=minute).timestamp()
            found.append(pricer.price.cost_usd(Usage(1_000_000, 0)))
        assert found == [0.15, 0.3, 0.3, 0.15, 0.3, 0.15, 0.15]

    def test_a_price_that_changes_with_the_clock_is_looked_up_once_until_it_may_change(
        self, clock, monkeypatch
    ):
        asked = []
        real = Entry.price_until

        def price_until(self: Entry, now: datetime, *of: Any) -> Any:
            asked.append(now)
            return real(self, now, *of)

        monkeypatch.setattr(Entry, "price_until", price_until)
        pricer = Prices().pricer("openai", "o3")  # whose price fell on a day
        for later in (0, 10, 3600, 86_400, 86_410):
            clock[0] = NOW.timestamp() + later
            assert pricer.price.cost_usd(Usage(1, 1)) is not None
        assert [when.day for when in asked] == [20, 21]

    def test_a_price_that_changes_with_the_clock_is_that_of_the_day(self, clock):
        # USD 10 a million until 2025-06-10, then 2: openai.com, o3
        pricer = Prices().pricer("openai", "o3")
        found = []
        for day in (9, 10):
            clock[0] = datetime(2025, 6, day, 12, tzinfo=timezone.utc).timestamp()
            found.append(pricer.price.cost_usd(Usage(1_000_000, 0)))
        assert found == [10.0, 2.0]

    def test_a_price_that_changes_with_the_clock_shows_the_rates_of_now(self, clock):
        price = price_of("openai", "o3")
        assert price.bands[0][1].in_usd()["input"] == 2.0


class TestAnUnknownPrice:
    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-99-ultra"),
            ("nobody", "gpt-4o"),
            ("unknown", "unknown"),
            ("openai", ""),
            ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc"),
            ("groq", "whisper-large-v3"),  # has a price, for hours
            ("google_genai", "gemini-2.5-flash-image"),  # images in the output cost more
            ("google_genai", "gemma-4-31b-it"),  # listed without a price
            ("openai", "gpt-4o" + "-" * 200),
        ],
    )
    def test_an_unknown_price_is_none_and_never_zero_or_a_siblings(self, provider, model):
        assert cost(provider, model, Usage(10, 10)) is None

    @pytest.mark.parametrize("usage", [Usage(), Usage(10), Usage(None, 10)])
    def test_a_part_of_a_cost_is_not_the_cost(self, usage):
        assert cost("openai", "gpt-4o", usage) is None

    def test_an_unknown_price_is_that_of_audio_where_only_text_has_a_rate(self):
        # OpenAI's audio costs more than its text, and the list does not say what
        model = ("openai", "gpt-4o-audio-preview")
        assert cost(*model, Usage(10, 10)) is not None
        assert cost(*model, Usage(10, 10, audio_input_tokens=5)) is None
        assert cost(*model, Usage(10, 10, audio_output_tokens=5)) is None

    def test_an_unknown_price_is_that_of_an_hours_cache_where_only_five_minutes_have_a_rate(self):
        model = ("google_vertexai", "claude-3-7-sonnet@20250219")
        five_minutes = Usage(10, 10, cache_creation_tokens=5)
        an_hour = Usage(10, 10, cache_creation_tokens=5, cache_creation_1h_tokens=5)
        assert cost(*model, five_minutes) is not None
        assert cost(*model, an_hour) is None

    def test_an_unknown_price_is_that_of_audio_that_may_have_come_from_the_cache_at_another_rate(
        self,
    ):
        both = Usage(100, 10, cache_read_tokens=50, audio_input_tokens=50)
        assert cost("google_genai", "gemini-2.5-flash", both) is None
        assert cost("google_genai", "gemini-2.5-pro", both) is not None  # one rate for both

    def test_an_unknown_price_is_that_of_output_where_only_input_has_a_rate(self):
        assert cost("openai", "text-embedding-3-small", Usage(10, 1)) is None

    def test_every_call_is_unpriced_without_the_extra(self, monkeypatch):
        for name in list(sys.modules):
            if name.startswith("genai_prices"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "genai_prices", None)
        monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
        assert cost("openai", "gpt-4o", Usage(10, 10)) is None
        assert cost("ollama", "llama3", Usage(10, 10)) == 0
        assert source.provider_ids() == []
        assert source.vendor_of("gpt-4o") is None

    def test_an_unknown_price_is_logged_once_for_each_model(self, caplog):
        prices = Prices()
        for _ in range(3):
            prices._pricers.clear()
            prices.cost_usd("openai", "gpt-99\n", Usage(1, 1))
        assert [record.getMessage() for record in caplog.records] == [
            "no price found for gpt-99_ (openai); its calls are counted as unpriced"
        ]

    def test_an_unknown_price_is_that_of_an_entry_which_contradicts_itself(self):
        rates = {"input_mtok", "output_mtok", "cache_read_mtok", "input_audio_mtok"}
        prices = types.ModelPrice(**dict.fromkeys(rates, Decimal(1)))  # what of cached audio?
        model = types.ModelInfo("m", types.ClauseEquals("m"), prices=prices)
        assert Entry(types.Provider("p", "P", "x"), model).price("", "p") is UNKNOWN

    def test_an_unknown_price_is_that_of_a_list_which_cannot_be_used(self, monkeypatch, caplog):
        class Counted(list):
            def count(self, event):
                self.append(event)

        counted, prices = Counted(), Prices()
        prices.report_to(counted.count)
        monkeypatch.setattr(source, "snapshot", lambda: 1 / 0)
        assert prices.cost_usd("openai", "gpt-4o", Usage(1, 1)) is None
        assert counted == ["price"]
        assert "ZeroDivisionError" in caplog.text


class TestAServiceTier:
    @pytest.mark.parametrize(
        ("provider", "model", "tier", "rates"),
        [
            # developers.openai.com/api/docs/pricing
            ("openai", "gpt-5", "flex", (0.625, 5)),
            ("openai", "gpt-5", "priority", (2.5, 20)),
            ("openai", "gpt-5", "batch", (0.625, 5)),
            ("openai", "gpt-4o", "priority", (4.25, 17)),
            # platform.claude.com/docs/en/about-claude/pricing
            ("anthropic", "claude-haiku-4-5", "batch", (0.5, 2.5)),
            ("anthropic", "claude-opus-4-6", "us", (5.5, 27.5)),
            ("groq", "llama-3.3-70b-versatile", "flex", (0.59, 0.79)),
        ],
    )
    def test_a_service_tier_that_is_listed_has_its_own_rates(
        self, clock, provider, model, tier, rates
    ):
        input_rate, output_rate = rates
        found = cost(provider, model, Usage(1000, 100), tier)
        assert found == pytest.approx((1000 * input_rate + 100 * output_rate) / 1e6, abs=1e-12)

    @pytest.mark.parametrize(
        ("provider", "model", "tier"),
        [
            ("openai", "gpt-4o", "flex"),  # not offered for it
            ("openai", "gpt-5", "scale"),  # paid beforehand
            ("azure", "gpt-5", "priority"),  # not at OpenAI's price
            ("anthropic", "claude-haiku-4-5", "priority"),  # by contract
            ("anthropic", "claude-haiku-4-5", "batch+us"),
            ("amazon_bedrock", "amazon.nova-pro-v1:0", "flex"),
            ("groq", "llama-3.3-70b-versatile", "performance"),  # by contract
            ("groq", "llama-3.3-70b-versatile", "auto"),  # which may be that
        ],
    )
    def test_a_service_tier_that_is_not_listed_is_unpriced_and_never_the_standard_one(
        self, clock, provider, model, tier
    ):
        assert cost(provider, model, Usage(10, 10)) is not None
        assert cost(provider, model, Usage(10, 10), tier) is None

    def test_a_service_tier_has_no_price_before_its_first_day(self, clock):
        clock[0] = datetime(2026, 10, 11, tzinfo=timezone.utc).timestamp()
        assert cost("openai", "gpt-5", Usage(10, 10), "flex") is None
        clock[0] = datetime(2026, 10, 12, tzinfo=timezone.utc).timestamp()
        assert cost("openai", "gpt-5", Usage(10, 10), "flex") is not None

    @settings(max_examples=100, deadline=None)
    @given(st.data(), usages())
    def test_a_service_tier_costs_what_genai_prices_says_of_it(self, data, usage):
        tiered = [entry for entry in MODELS if entry.model.price_variants]
        entry = data.draw(st.sampled_from(tiered))
        variant = data.draw(st.sampled_from(entry.model.price_variants))
        ((key, tier),) = variant.when.items()
        price, _ = entry.price_until(NOW, tier, entry.provider.id.replace("-", "_"))
        found = price.cost_usd(usage)
        if key in ("service_tier", "processing", "speed") and found is None:
            assert has_a_part_without_a_rate(price, usage)
        elif found is not None:
            assert found == pytest.approx(
                full_calculation(entry, usage, **{key: tier}), abs=1.01e-9
            )

    def test_a_service_tier_of_a_local_model_is_free_too(self):
        assert cost("ollama", "llama3", Usage(1, 1), "batch") == 0


class TestAPricer:
    def test_a_pricer_is_one_for_each_model_and_looked_up_once(self, monkeypatch):
        asked = []
        real = Entry.price

        def price(*of: Any) -> Any:
            asked.append(of)
            return real(*of)

        prices = Prices()
        monkeypatch.setattr(Entry, "price", price)
        for _ in range(3):
            prices.cost_usd("openai", "gpt-4o", Usage(1, 1))
        assert len(asked) == 1
        assert prices.pricer("openai", "gpt-4o") is prices.pricer("openai", "gpt-4o")

    def test_a_pricer_shows_its_rates_before_its_first_call(self):
        assert Prices().pricer("openai", "gpt-4o").price.bands[0][1].in_usd()["input"] == 2.5

    def test_a_pricer_is_kept_for_a_bounded_number_of_models(self, monkeypatch):
        monkeypatch.setattr(prices, "_MAX_PRICERS", 3)
        found = Prices()
        for number in range(10):
            found.cost_usd("openai", f"model-{number}", Usage(1, 1))
        assert len(found._pricers) <= 3


class TestRates:
    def test_rates_in_usd_are_what_they_were_made_of(self):
        stated = {
            "input": 2.5, "output": 10.0, "cache_read": 1.25, "cache_creation": 3.125,
            "cache_creation_1h": 5.0, "reasoning": 11.0, "audio_input": 40.0,
            "audio_output": 80.0, "image_input": 8.0, "image_output": 32.0, "request": 0.01,
        }  # fmt: skip
        assert Rates.of_usd(**stated).in_usd() == pytest.approx(stated)

    def test_rates_of_parts_that_have_none_are_those_of_the_whole(self):
        found = Rates.of_usd(input=1.0, output=2.0, cache_creation=1.5).in_usd()
        assert found == {
            "input": 1.0, "output": 2.0, "cache_read": 1.0, "cache_creation": 1.5,
            "cache_creation_1h": 1.5, "reasoning": 2.0, "audio_input": 1.0,
            "audio_output": 2.0, "image_input": 1.0, "image_output": 2.0, "request": 0.0,
        }  # fmt: skip

    def test_rates_can_be_multiplied(self):
        found = Rates.of_usd(input=1.0, output=2.0, cache_read=0.1, request=0.5).times(1.1)
        assert found.in_usd()["cache_read"] == pytest.approx(0.11)
        assert found.in_usd()["request"] == pytest.approx(0.55)

    def test_rates_that_nobody_knows_are_shown_as_that(self):
        assert price_of("openai", "gpt-4o").bands[0][1].in_usd()["audio_input"] is None
        assert UNKNOWN.bands == ()
        assert FREE.bands[0][1].in_usd()["input"] == 0

    def test_rates_of_bands_and_of_input_alone_can_be_shown(self):
        rates = Rates.of_usd(input=1.0, output=2.0)
        assert Stepped(((0, rates), (10, rates.times(2)))).bands[1][1].in_usd()["input"] == 2.0
        assert InputOnly(rates).bands == ((0, rates),)
