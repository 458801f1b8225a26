"""What providers' prompt caches saved: cache-read tokens at the plain input rate, less theirs."""

from __future__ import annotations

from contextlib import suppress

import pytest

from agentmetrics import MemoryRecorder, MetricsCallbackHandler, track_call
from tests.unit.scripted import Chat, answer, by

MILLION = 1_000_000


def read_from_cache(tokens: int, provider: str, model: str, **usage: int) -> None:
    with track_call(provider, model) as call:
        call.record_usage(**{"input_tokens": 1000, "output_tokens": 100, **usage,
                             "cache_read_tokens": tokens})  # fmt: skip


def saved(recorder: MemoryRecorder) -> dict[str, float]:
    return by(recorder, "model_cost_savings_usd_total", "intent")


class TestAPromptCache:
    @pytest.mark.parametrize(
        ("provider", "model", "input_usd", "cache_read_usd"),
        [
            # USD a million tokens, from openai.com/api/pricing and anthropic.com/pricing
            ("openai", "gpt-4o", 2.50, 1.25),
            ("openai", "gpt-4o-mini", 0.15, 0.075),
            ("anthropic", "claude-haiku-4-5", 1.00, 0.10),
        ],
    )
    def test_a_prompt_cache_saves_the_difference_of_the_two_rates(
        self, recorder, provider, model, input_usd, cache_read_usd
    ):
        read_from_cache(600, provider, model)
        expected = 600 * (input_usd - cache_read_usd) / MILLION
        assert saved(recorder) == {"prompt_cache": pytest.approx(expected)}

    def test_a_prompt_cache_saves_at_the_rate_of_the_callers_tier(self, recorder):
        # Above 200,000 input tokens Gemini 2.5 Pro costs USD 2.50 a million instead of 1.25, from
        # the cache 0.25 instead of 0.125: ai.google.dev/gemini-api/docs/pricing
        read_from_cache(100_000, "google_genai", "gemini-2.5-pro", input_tokens=150_000)
        low = saved(recorder)["prompt_cache"]
        assert low == pytest.approx(100_000 * (1.25 - 0.125) / MILLION)
        read_from_cache(100_000, "google_genai", "gemini-2.5-pro", input_tokens=250_000)
        high = saved(recorder)["prompt_cache"] - low
        assert high == pytest.approx(100_000 * (2.50 - 0.25) / MILLION)

    def test_a_prompt_cache_saves_no_more_than_was_read_from_it(self, recorder):
        read_from_cache(600, "anthropic", "claude-haiku-4-5", cache_creation_tokens=300)
        assert saved(recorder) == {"prompt_cache": pytest.approx(600 * 0.90 / MILLION)}

    def test_a_prompt_cache_adds_up_over_calls_and_leaves_their_cost_as_it_is(self, recorder):
        for _ in range(3):
            read_from_cache(600, "openai", "gpt-4o")
        assert saved(recorder) == {"prompt_cache": pytest.approx(3 * 600 * 1.25 / MILLION)}
        cost = 3 * (400 * 2.50 + 600 * 1.25 + 100 * 10.00) / MILLION
        assert recorder.value("llm_cost_usd_total") == pytest.approx(cost)

    def test_a_prompt_cache_saves_for_a_call_that_failed_after_it_was_billed(self, recorder):
        with suppress(LookupError), track_call("openai", "gpt-4o") as call:
            call.record_usage(1000, 100, cache_read_tokens=600)
            raise LookupError
        assert by(recorder, "llm_calls_total", "status") == {"error": 1}
        assert saved(recorder) == {"prompt_cache": pytest.approx(600 * 1.25 / MILLION)}

    def test_a_prompt_cache_is_seen_in_langchains_usage(self, recorder):
        message = answer(tokens=(1000, 100), input_token_details={"cache_read": 600})
        Chat(answers=[message]).invoke("x", {"callbacks": [MetricsCallbackHandler()]})
        assert saved(recorder) == {"prompt_cache": pytest.approx(600 * 1.25 / MILLION)}


class TestNothing:
    def test_nothing_is_saved_by_a_plain_call(self, recorder):
        read_from_cache(0, "openai", "gpt-4o")
        assert saved(recorder) == {}

    def test_nothing_is_saved_by_filling_a_cache(self, recorder):
        read_from_cache(0, "anthropic", "claude-haiku-4-5", cache_creation_tokens=600)
        assert saved(recorder) == {}

    def test_nothing_is_known_to_be_saved_where_nobody_knows_the_price(self, recorder):
        read_from_cache(600, "openai", "house-model-7")
        assert saved(recorder) == {}
        assert recorder.value("llm_unpriced_calls_total") == 1

    def test_nothing_is_known_to_be_saved_where_part_of_the_usage_is_unknown(self, recorder):
        with track_call("openai", "gpt-4o") as call:
            call.record_usage(input_tokens=1000, cache_read_tokens=600)
        assert saved(recorder) == {}

    def test_nothing_is_saved_where_calls_cost_nothing(self, recorder):
        read_from_cache(600, "ollama", "llama3")
        assert "model_cost_savings_usd_total" not in {s.name for s in recorder.samples()}
