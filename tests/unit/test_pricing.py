"""Usage to USD: equal to genai-prices' full calculation, and never a guess."""

from __future__ import annotations

import sys

import pytest
from genai_prices.data_snapshot import get_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from agentmetrics import Usage, pricing
from agentmetrics.pricing import Prices

MODELS = [(provider, model) for provider in get_snapshot().providers for model in provider.models]


@st.composite
def usages(draw):
    """Usage that a provider could have reported."""
    count = st.integers(0, 300_000)
    input_tokens, output_tokens = draw(count), draw(count)
    read = draw(st.integers(0, input_tokens))
    created = draw(st.integers(0, input_tokens - read))
    return Usage(
        input_tokens,
        output_tokens,
        cache_read_tokens=read,
        cache_creation_tokens=created,
        cache_creation_1h_tokens=draw(st.integers(0, created)),
        reasoning_tokens=draw(st.integers(0, output_tokens)),
    )


def full_calculation(provider, model, usage: Usage) -> float:
    return pricing._full(provider, model, usage)


class TestACost:
    @settings(max_examples=300, deadline=None)
    @given(st.integers(0, len(MODELS) - 1), usages())
    def test_is_that_of_genai_prices_for_every_model(self, number, usage):
        provider, info = MODELS[number]
        price = Prices().pricer(provider.id, info.id)
        found = pricing._find(provider.id, info.id)
        if found is None:  # a name that is another provider's pattern
            assert price(usage) is None
            return
        try:
            expected = full_calculation(*found, usage)
        except ValueError:
            assert pricing._full_or_unknown(*found, usage) is None
            return
        assert price(usage) == pytest.approx(expected, rel=1e-9, abs=1e-12)

    def test_of_a_known_call_is_what_the_price_list_says(self):
        # USD 2.50 and 10.00 a million, cached input 1.25: openai.com/api/pricing, gpt-4o
        usage = Usage(1000, 100, cache_read_tokens=400)
        expected = (600 * 2.5 + 400 * 1.25 + 100 * 10) / 1e6
        assert Prices().cost_usd("openai", "gpt-4o", usage) == pytest.approx(expected)

    def test_counts_a_kept_hour_of_cache_more_than_five_minutes(self):
        short = Usage(1000, 0, cache_creation_tokens=1000)
        long = Usage(1000, 0, cache_creation_tokens=1000, cache_creation_1h_tokens=1000)
        cost = Prices().cost_usd
        assert cost("anthropic", "claude-sonnet-4-5", short) == pytest.approx(3.75e-3)
        assert cost("anthropic", "claude-sonnet-4-5", long) == pytest.approx(6e-3)

    @pytest.mark.parametrize("provider", sorted(pricing.LOCAL_PROVIDERS))
    def test_of_a_local_model_is_zero(self, provider):
        assert Prices().cost_usd(provider, "anything", Usage(10, 10)) == 0

    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-4o-mini-2024-07-18"),
            ("amazon_bedrock", "anthropic.claude-3-haiku-20240307-v1:0"),
            ("google_genai", "gemini-2.5-pro"),
            ("google_vertexai", "gemini-2.5-flash"),
            ("mistralai", "mistral-large-latest"),
            ("azure", "gpt-4o"),
        ],
    )
    def test_is_found_under_the_names_that_langchain_uses(self, provider, model):
        cost = Prices().cost_usd(provider, model, Usage(1000, 1000))
        assert cost is not None
        assert 0 < cost < 1


class TestAnUnknownPrice:
    @pytest.mark.parametrize(
        ("provider", "model"),
        [
            ("openai", "gpt-99-ultra"),
            ("nobody", "gpt-4o"),
            ("unknown", "unknown"),
            ("openai", ""),
            ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc"),
        ],
    )
    def test_is_none_and_never_zero_or_a_siblings(self, provider, model):
        assert Prices().cost_usd(provider, model, Usage(10, 10)) is None

    @pytest.mark.parametrize("usage", [Usage(), Usage(10), Usage(None, 10)])
    def test_a_part_of_a_cost_is_not_the_cost(self, usage):
        assert Prices().cost_usd("openai", "gpt-4o", usage) is None

    @pytest.mark.parametrize("usage", [Usage(10), Usage(10, 10, cache_read_tokens=50)])
    def test_is_that_of_counts_that_cannot_be_priced_in_tiers(self, usage):
        _, info = pricing._find("google", "gemini-2.5-pro")
        assert not pricing._is_flat(info)
        assert Prices().cost_usd("google", "gemini-2.5-pro", usage) is None

    def test_every_call_is_unpriced_without_the_extra(self, monkeypatch):
        for name in list(sys.modules):
            if name.startswith("genai_prices"):
                monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "genai_prices", None)
        monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
        assert Prices().cost_usd("openai", "gpt-4o", Usage(10, 10)) is None
        assert Prices().cost_usd("ollama", "llama3", Usage(10, 10)) == 0


class TestRates:
    def test_are_asked_for_once_a_model(self, monkeypatch):
        asked = []
        real = pricing.Rates.measured
        monkeypatch.setattr(
            pricing.Rates, "measured", lambda *model: asked.append(model) or real(*model)
        )
        prices = Prices()
        for _ in range(3):
            prices.cost_usd("openai", "gpt-4o", Usage(1, 1))
        assert len(asked) == 1

    def test_that_change_on_a_date_are_asked_for_anew_every_day(self, monkeypatch):
        asked, clock = [], [0.0]
        provider, info = next(
            (provider, info)
            for provider, info in MODELS
            if isinstance(info.prices, list)
            and pricing._is_flat(info)
            and pricing._find(provider.id, info.id) == (provider, info)
        )
        real = pricing.Rates.measured
        monkeypatch.setattr(
            pricing.Rates, "measured", lambda *model: asked.append(clock[0]) or real(*model)
        )
        monkeypatch.setattr(pricing.time, "time", lambda: clock[0])
        prices = Prices()
        for now in (0.0, 10.0, 86_399.0, 86_400.0, 86_401.0):
            clock[0] = now
            assert prices.cost_usd(provider.id, info.id, Usage(1, 1)) is not None
        assert asked == [0.0, 86_400.0]

    def test_are_kept_for_a_bounded_number_of_models(self, monkeypatch):
        monkeypatch.setattr(pricing, "_MAX_PRICERS", 3)
        prices = Prices()
        for number in range(10):
            prices.cost_usd("openai", f"model-{number}", Usage(1, 1))
        assert len(prices._pricers) <= 3

    def test_of_every_kind_of_token_are_the_price_lists(self):
        provider, info = pricing._find("openai", "gpt-4o-audio-preview")
        rates = pricing.Rates.measured(provider, info)
        usage = Usage(1000, 500, audio_input_tokens=200, audio_output_tokens=100)
        assert rates.cost_usd(usage) == pytest.approx(full_calculation(provider, info, usage))
