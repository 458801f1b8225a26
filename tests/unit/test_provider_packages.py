"""What LangChain's packages for single providers put elsewhere, or leave out."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from tests.unit.scripted import answer, assert_settled, by, calls, errors


@pytest.fixture
def recorder() -> MemoryRecorder:
    """Not the configured one: whoever records in it was given it."""
    return MemoryRecorder()


def ended(recorder: MemoryRecorder, provider: str, response: LLMResult) -> dict[str, float]:
    """The tokens that are recorded of a call that ends with this response."""
    handler, run_id = MetricsCallbackHandler(recorder), uuid.uuid4()
    asked = {"ls_provider": provider, "ls_model_name": "some-model"}
    handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=asked)
    handler.on_llm_end(response, run_id=run_id)
    assert calls(recorder) == {("unknown", "success"): 1}
    assert errors(recorder) == {}
    assert_settled(recorder)
    return by(recorder, "llm_tokens_total", "token_type")


def chat(message: AIMessage, **llm_output: Any) -> LLMResult:
    return LLMResult(generations=[[ChatGeneration(message=message)]], llm_output=llm_output or None)


def text(llm_output: dict[str, Any] | None = None, *infos: dict[str, Any] | None) -> LLMResult:
    generations = [Generation(text="hello", generation_info=info) for info in infos]
    return LLMResult(generations=[generations], llm_output=llm_output)


class TestZeroInput:
    def test_zero_input_for_an_answer_is_unknown(self, recorder):
        assert ended(recorder, "openai", chat(answer(tokens=(0, 15)))) == {"output": 15}

    def test_zero_input_without_an_answer_is_zero(self, recorder):
        assert ended(recorder, "openai", chat(answer(tokens=(0, 0)))) == {}
        names = {sample.name for sample in recorder.samples()}
        assert "llm_tokens_total" in names  # both ways, at 0

    def test_zero_input_of_what_costs_nothing_leaves_its_cost_at_zero(self, recorder):
        assert ended(recorder, "ollama", chat(answer(tokens=(0, 15)))) == {"output": 15}
        assert recorder.histogram("llm_call_cost_usd", provider="ollama").count == 1
        assert recorder.value("llm_unpriced_calls_total") == 0


class TestAnthropic:
    USAGE: dict[str, Any] = {  # noqa: RUF012
        "input_tokens": 20,
        "output_tokens": 10,
        "cache_read_input_tokens": 0,
        "iterations": [
            {"type": "compaction", "input_tokens": 180, "output_tokens": 30},
            {"type": "message", "input_tokens": 20, "output_tokens": 10},
        ],
    }

    @pytest.mark.parametrize(
        "provider", ["anthropic", "anthropic_bedrock", "google_anthropic_vertex"]
    )
    def test_anthropic_bills_a_compaction_beside_the_message(self, recorder, provider):
        message = answer(tokens=(20, 10))
        message.content = [{"type": "compaction", "content": "so far"}, "hello"]
        found = ended(recorder, provider, chat(message, usage=self.USAGE))
        assert found == {"input": 200, "output": 40}

    def test_anthropic_does_not_say_what_a_compaction_in_a_stream_took(self, recorder):
        message = answer(tokens=(20, 10))
        message.content = [{"type": "compaction", "content": "so far"}, {"type": "text"}]
        assert ended(recorder, "anthropic", chat(message)) == {}

    @pytest.mark.parametrize("content", ["compaction", ["compaction"], [{"type": "tool_use"}], []])
    def test_anthropic_says_all_of_the_usage_otherwise(self, recorder, content):
        message = answer(tokens=(20, 10))
        message.content = content
        assert ended(recorder, "anthropic", chat(message)) == {"input": 20, "output": 10}

    @pytest.mark.parametrize("generations", [[], [[]], [[Generation(text="hello")]]])
    def test_anthropic_may_fail_before_it_says_anything(self, recorder, generations):
        handler, run_id = MetricsCallbackHandler(recorder), uuid.uuid4()
        asked = {"ls_provider": "anthropic", "ls_model_name": "claude-sonnet-4-5"}
        handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=asked)
        response = LLMResult(generations=generations)
        handler.on_llm_error(ConnectionResetError(), run_id=run_id, response=response)
        assert by(recorder, "llm_errors_total", "error_type") == {"connection": 1}
        assert errors(recorder) == {}

    def test_an_anthropic_stream_that_fails_was_served_by_the_model_that_it_names(self, recorder):
        handler, run_id = MetricsCallbackHandler(recorder), uuid.uuid4()
        asked = {"ls_provider": "anthropic", "ls_model_name": "claude-sonnet-4-5"}
        handler.on_chat_model_start({}, [[]], run_id=run_id, metadata=asked)
        served = AIMessage("hel", response_metadata={"model_name": "claude-sonnet-4-5-20250929"})
        why = AIMessage("", response_metadata={"status_code": 529, "body": {}})
        response = LLMResult(
            generations=[[ChatGeneration(message=served)], [ChatGeneration(message=why)]]
        )
        handler.on_llm_error(ValueError(), run_id=run_id, response=response)
        assert by(recorder, "llm_errors_total", "model") == {"claude-sonnet-4-5": 1}
        assert by(recorder, "llm_served_calls_total", "served_model") == {
            "claude-sonnet-4-5-20250929": 1
        }


class TestBedrock:
    HEADERS: dict[str, int] = {  # noqa: RUF012
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "cache_read_input_tokens": 70,
        "cache_write_input_tokens": 20,
        "total_tokens": 105,
    }

    def test_bedrocks_text_models_have_the_counts_of_the_headers(self, recorder):
        found = ended(recorder, "amazon_bedrock", text({"usage": self.HEADERS}, None))
        assert found == {"input": 100, "output": 5}

    def test_bedrocks_headers_that_were_not_there_are_unknown(self, recorder):
        absent = dict.fromkeys(self.HEADERS, 0)
        assert ended(recorder, "amazon_bedrock", text({"usage": absent}, None)) == {}
        assert recorder.value("llm_unpriced_calls_total") == 0

    def test_bedrocks_chats_without_headers_are_unknown_too(self, recorder):
        message = answer(tokens=(0, 0))
        message.response_metadata = {"model_provider": "bedrock"}
        assert ended(recorder, "amazon_bedrock", chat(message)) == {}
        assert recorder.value("llm_unmetered_calls_total") == 1

    def test_a_prompt_that_a_guardrail_of_bedrock_blocked_is_none_at_all(self, recorder):
        message = answer(tokens=(0, 0))
        message.response_metadata = {"model_provider": "bedrock_converse"}
        assert ended(recorder, "amazon_bedrock", chat(message)) == {}
        assert recorder.value("llm_unmetered_calls_total") == 0

    def test_bedrocks_streams_have_the_metrics_of_the_last_chunk_and_its_time(self, recorder):
        metrics = {"inputTokenCount": 9, "outputTokenCount": 13, "invocationLatency": 1102}
        last = {"amazon-bedrock-invocationMetrics": metrics}
        found = ended(recorder, "amazon_bedrock", text(None, {"index": 0}, last))
        assert found == {"input": 9, "output": 13}
        assert recorder.histogram("llm_api_latency_seconds").sum == pytest.approx(1.102)


class TestCohere:
    def test_coheres_streams_say_what_is_billed(self, recorder):
        counts = {"input_tokens": 7.0, "output_tokens": 4.0, "total_tokens": 11.0}
        message = AIMessage("hello", response_metadata={"token_count": counts})
        assert ended(recorder, "cohere", chat(message)) == {"input": 7, "output": 4}

    def test_coheres_other_calls_say_what_the_model_saw_which_has_no_price(self, recorder):
        message = answer(tokens=(502, 4), model="command-a-03-2025")
        message.response_metadata["token_count"] = {"input_tokens": 502.0, "output_tokens": 4.0}
        assert ended(recorder, "cohere", chat(message)) == {"input": 502, "output": 4}
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_coheres_tokens_have_no_price_wherever_the_package_puts_them(self, recorder):
        message = answer(tokens=(502, 4), model="command-a-03-2025")
        assert ended(recorder, "cohere", chat(message)) == {"input": 502, "output": 4}
        assert recorder.value("llm_unpriced_calls_total") == 1

    @pytest.mark.parametrize("counts", [None, 7, "total_tokens", [], {}])
    def test_coheres_counts_in_another_shape_are_unknown(self, recorder, counts):
        message = AIMessage("hello", response_metadata={"token_count": counts})
        assert ended(recorder, "cohere", chat(message)) == {}


class TestGoogle:
    def test_googles_text_models_have_their_usage_beside_the_text(self, recorder):
        usage = {
            "input_tokens": 8,
            "output_tokens": 34,
            "total_tokens": 42,
            "output_token_details": {"reasoning": 30},
        }
        info = {"model_name": "gemini-2.5-flash", "usage_metadata": usage}
        assert ended(recorder, "google_genai", text(None, info)) == {"input": 8, "output": 34}
        assert by(recorder, "llm_token_details_total", "token_detail") == {"reasoning": 30}
        assert by(recorder, "llm_served_calls_total", "served_model") == {"gemini-2.5-flash": 1}


class TestOllama:
    def test_ollama_does_not_count_a_prompt_that_is_in_memory(self, recorder):
        served = {"model": "llama3.2", "eval_count": 5, "total_duration": 4_648_158_584}
        message = AIMessage("hello", response_metadata=served)
        assert ended(recorder, "ollama", chat(message)) == {"output": 5}
        assert recorder.histogram("llm_api_latency_seconds").sum == pytest.approx(4.648158584)

    def test_ollamas_text_models_have_their_counts_beside_the_text(self, recorder):
        info = {"model": "llama3.2:latest", "prompt_eval_count": 26, "eval_count": 5}
        assert ended(recorder, "ollama", text(None, info)) == {"input": 26, "output": 5}
        assert by(recorder, "llm_served_calls_total", "served_model") == {"llama3.2:latest": 1}
