"""A response that is half understood has no price, and each kind of tokens its own rate."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agentmetrics import MemoryRecorder, Usage, track_call
from agentmetrics.providers.details import unknown_tokens
from tests.unit.test_usage import as_object

COUNTS = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}


def recorded(provider: str, model: str, usage: Any) -> MemoryRecorder:
    recorder = MemoryRecorder()
    with track_call(provider, model, recorder=recorder) as call:
        call.record_response({"model": model, "usage": usage})
    return recorder


UNKNOWN = {
    "a part of the prompt": ({"prompt_tokens_details": {"hologram_tokens": 7}}, 7),
    "a part of the output": ({"completion_tokens_details": {"video_tokens": 9}}, 9),
    "one that is nested": ({"output_tokens_details": {"by_kind": {"smell": 3, "text": 0}}}, 3),
    "one of OpenAI's other words": ({"input_token_details": {"video_tokens": 4}}, 4),
    "seconds of sound": ({"prompt_audio_seconds": 2.5}, 2),
    "a number that is none": ({"prompt_tokens_details": {"weight": float("inf")}}, 1),
    "another time to live": ({"cache_creation": {"ephemeral_24h_input_tokens": 6}}, 6),
}


class TestADetailThatIsNotKnown:
    @pytest.mark.parametrize(("more", "tokens"), UNKNOWN.values(), ids=UNKNOWN.keys())
    @pytest.mark.parametrize("shape", [dict, as_object], ids=["plain data", "object"])
    def test_its_tokens_are_unknown(self, shape, more, tokens):
        assert unknown_tokens(shape({**COUNTS, **more})) == tokens

    @pytest.mark.parametrize(("more", "tokens"), UNKNOWN.values(), ids=UNKNOWN.keys())
    def test_the_call_counts_its_tokens_and_has_no_price(self, more, tokens):
        recorder = recorded("openai", "gpt-4o", {**COUNTS, **more})
        assert recorder.value("llm_tokens_total") == 150
        assert recorder.value("llm_cost_usd_total") == 0
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert recorder.value("llm_token_details_total", token_detail="unknown") == tokens

    def test_what_is_0_or_says_no_number_is_nothing(self):
        details = {"hologram_tokens": 0, "kind": "text", "parts": [1, 2], "is_new": True}
        assert unknown_tokens({"prompt_tokens_details": details}) is None
        assert unknown_tokens({"prompt_tokens_details": SimpleNamespace(**details)}) is None

    def test_predicted_tokens_are_output_like_any_other(self):
        said = {"accepted_prediction_tokens": 20, "rejected_prediction_tokens": 10}
        recorder = recorded("openai", "gpt-4o", {**COUNTS, "completion_tokens_details": said})
        assert recorder.value("llm_cost_usd_total") == pytest.approx(100 * 2.5e-6 + 50 * 10e-6)


class TestSound:
    def test_a_transcription_costs_what_its_sound_does(self):
        recorder = recorded(
            "openai",
            "gpt-4o-transcribe",
            {
                "type": "tokens",
                "input_tokens": 1000,
                "output_tokens": 100,
                "input_token_details": {"text_tokens": 20, "audio_tokens": 980},
            },
        )
        # https://platform.openai.com/docs/pricing: 2.50, of sound 6.00, and 10.00
        assert recorder.value("llm_cost_usd_total") == pytest.approx(0.00693)

    def test_a_realtime_answer_is_unpriced_where_some_of_the_sound_was_cached(self):
        recorder = recorded(
            "openai",
            "gpt-realtime",
            {
                "input_tokens": 1000,
                "output_tokens": 100,
                "input_token_details": {
                    "text_tokens": 20,
                    "audio_tokens": 980,
                    "cached_tokens": 640,
                    "cached_tokens_details": {"audio_tokens": 640},
                },
                "output_token_details": {"text_tokens": 20, "audio_tokens": 80},
            },
        )
        assert recorder.value("llm_tokens_total") == 1100
        assert recorder.value("llm_unpriced_calls_total") == 1


class TestImages:
    def test_an_image_in_the_answer_has_a_rate_of_its_own(self):
        answer = {
            "promptTokenCount": 12,
            "candidatesTokenCount": 1300,
            "totalTokenCount": 1312,
            "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}],
            "candidatesTokensDetails": [
                {"modality": "TEXT", "tokenCount": 10},
                {"modality": "IMAGE", "tokenCount": 1290},
            ],
        }
        recorder = MemoryRecorder()
        with track_call("google_genai", "gemini-2.5-flash-image", recorder=recorder) as call:
            call.record_response({"usageMetadata": answer})
        # https://ai.google.dev/gemini-api/docs/pricing: 0.30, 2.50, and 30 for images
        assert recorder.value("llm_cost_usd_total") == pytest.approx(0.0387286)
        assert recorder.value("llm_token_details_total", token_detail="image_output") == 1290

    def test_a_model_that_answers_in_images_has_no_price_where_nobody_says_how_many(self):
        recorder = MemoryRecorder()
        with track_call("google_genai", "gemini-2.5-flash-image", recorder=recorder) as call:
            call.record_usage(12, 1300)
        assert recorder.value("llm_unpriced_calls_total") == 1

    def test_a_model_that_answered_in_words_alone_has_its_price(self):
        recorder = MemoryRecorder()
        with track_call("google_genai", "gemini-2.5-flash-image", recorder=recorder) as call:
            call.record_usage(10, 100, image_output_tokens=0)
        assert recorder.value("llm_cost_usd_total") == pytest.approx(10 * 3e-7 + 100 * 2.5e-6)

    def test_an_image_in_a_prompt_to_gemini_costs_what_text_does(self):
        answer = {
            "promptTokenCount": 268,
            "candidatesTokenCount": 10,
            "totalTokenCount": 278,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 10},
                {"modality": "IMAGE", "tokenCount": 258},
            ],
        }
        recorder = MemoryRecorder()
        with track_call("google_genai", "gemini-2.5-flash", recorder=recorder) as call:
            call.record_response({"usageMetadata": answer})
        assert recorder.value("llm_cost_usd_total") == pytest.approx(268 * 3e-7 + 10 * 2.5e-6)

    def test_an_image_that_the_list_has_no_rate_for_is_unpriced(self):
        said = {"text_tokens": 20, "image_tokens": 80}
        recorder = recorded("openai", "gpt-4o", {**COUNTS, "prompt_tokens_details": said})
        assert recorder.value("llm_unpriced_calls_total") == 1

    def test_more_images_than_output_cannot_be(self):
        with pytest.raises(ValueError, match="image_output"):
            Usage.of(input_tokens=1, output_tokens=5, image_output_tokens=6)
