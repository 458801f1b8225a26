"""Tokens of one call, from each provider's own usage block."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics import Usage
from agentmetrics.providers.blocks import served_model
from agentmetrics.providers.counts import token_count
from agentmetrics.providers.timing import provider_seconds

LATENCY_HEADER = "x-amzn-bedrock-invocation-latency"


def as_object(value):
    """The plain data as an SDK's response object."""
    if isinstance(value, list):
        return [as_object(item) for item in value]
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(item) for name, item in value.items()})
    return value


RESPONSES = {
    "OpenAI chat completion": (
        {
            "model": "gpt-4o-2024-08-06",
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 40, "audio_tokens": 5},
                "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 3},
            },
        },
        Usage(
            100,
            50,
            cache_read_tokens=40,
            reasoning_tokens=20,
            audio_input_tokens=5,
            audio_output_tokens=3,
        ),
        "gpt-4o-2024-08-06",
    ),
    "OpenAI response": (
        {
            "model": "gpt-5",
            "usage": {
                "input_tokens": 100,
                "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 40},
                "output_tokens_details": {"reasoning_tokens": 20},
            },
        },
        Usage(100, 50, cache_read_tokens=40, reasoning_tokens=20),
        "gpt-5",
    ),
    "Anthropic message, which leaves out what was cached": (
        {
            "model": "claude-sonnet-4-5",
            "usage": {
                "input_tokens": 10,
                "output_tokens": 50,
                "cache_read_input_tokens": 70,
                "cache_creation_input_tokens": 20,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 5,
                    "ephemeral_1h_input_tokens": 15,
                },
            },
        },
        Usage(100, 50, cache_read_tokens=70, cache_creation_tokens=20, cache_creation_1h_tokens=15),
        "claude-sonnet-4-5",
    ),
    "Anthropic message without cache": (
        {"model": "claude-3-haiku", "usage": {"input_tokens": 10, "output_tokens": 50}},
        Usage(10, 50),
        "claude-3-haiku",
    ),
    "Anthropic message with thinking": (
        {
            "model": "claude-sonnet-4-5",
            "usage": {
                "input_tokens": 10,
                "output_tokens": 50,
                "cache_read_input_tokens": 0,
                "output_tokens_details": {"thinking_tokens": 30},
            },
        },
        Usage(10, 50, cache_read_tokens=0, reasoning_tokens=30),
        "claude-sonnet-4-5",
    ),
    "Anthropic message with a compaction, billed beside it, and an advisor of another model": (
        {
            "model": "claude-opus-4-6",
            "usage": {
                "input_tokens": 23,
                "output_tokens": 10,
                "iterations": [
                    {"type": "compaction", "input_tokens": 180, "output_tokens": 35},
                    {"type": "advisor_message", "input_tokens": 823, "output_tokens": 1612},
                    {"type": "message", "input_tokens": 23, "output_tokens": 10},
                ],
            },
        },
        Usage(203, 45),
        "claude-opus-4-6",
    ),
    "Gemini, which counts thoughts and tool-use prompts beside the rest": (
        {
            "model_version": "gemini-2.5-pro",
            "usage_metadata": {
                "prompt_token_count": 90,
                "tool_use_prompt_token_count": 10,
                "candidates_token_count": 30,
                "thoughts_token_count": 20,
                "cached_content_token_count": 40,
                "total_token_count": 150,
            },
        },
        Usage(100, 50, cache_read_tokens=40, reasoning_tokens=20),
        "gemini-2.5-pro",
    ),
    "Gemini over REST": (
        {
            "modelVersion": "gemini-2.5-pro",
            "usageMetadata": {"promptTokenCount": 90, "candidatesTokenCount": 30},
        },
        Usage(90, 30),
        "gemini-2.5-pro",
    ),
    "Gemini with sound": (
        {
            "usage_metadata": {
                "prompt_token_count": 90,
                "candidates_token_count": 30,
                "prompt_tokens_details": [
                    {"modality": "TEXT", "token_count": 10},
                    {"modality": "AUDIO", "token_count": 80},
                ],
                "candidates_tokens_details": [{"modality": "AUDIO", "token_count": 30}],
            },
        },
        Usage(90, 30, audio_input_tokens=80, audio_output_tokens=30, image_output_tokens=0),
        None,
    ),
    "Gemini with sound over REST": (
        {
            "usageMetadata": {
                "promptTokenCount": 90,
                "candidatesTokenCount": 30,
                "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 80}],
            },
        },
        Usage(90, 30, audio_input_tokens=80),
        None,
    ),
    "Bedrock Converse that says how long it keeps the cache": (
        {
            "usage": {
                "inputTokens": 10,
                "outputTokens": 50,
                "cacheReadInputTokens": 0,
                "cacheWriteInputTokens": 20,
                "cacheDetails": [
                    {"ttl": "1h", "inputTokens": 15},
                    {"ttl": "5m", "inputTokens": 5},
                ],
            },
        },
        Usage(30, 50, 0, 20, 15),
        None,
    ),
    "the last chunk that Bedrock's InvokeModel streams": (
        {
            "type": "message_stop",
            "amazon-bedrock-invocationMetrics": {
                "inputTokenCount": 10,
                "outputTokenCount": 50,
                "invocationLatency": 700,
                "cacheReadInputTokenCount": 70,
                "cacheWriteInputTokenCount": 20,
            },
        },
        Usage(100, 50, cache_read_tokens=70, cache_creation_tokens=20),
        None,
    ),
    "the headers of Bedrock's InvokeModel, as langchain-aws names them": (
        {
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 50,
                "cache_read_input_tokens": 70,
                "cache_write_input_tokens": 20,
                "total_tokens": 150,
            },
        },
        Usage(100, 50, cache_read_tokens=70, cache_creation_tokens=20),
        None,
    ),
    "Cohere, which bills less than its model saw": (
        {
            "usage": {
                "billed_units": {"input_tokens": 7.0, "output_tokens": 4.0},
                "tokens": {"input_tokens": 502.0, "output_tokens": 4.0},
                "cached_tokens": 3.0,
            },
        },
        Usage(7, 4, cache_read_tokens=3),
        None,
    ),
    "Ollama": (
        {
            "model": "llama3.2",
            "total_duration": 5,
            "prompt_eval_count": 26,
            "prompt_eval_cached_count": 19,
            "eval_count": 5,
        },
        Usage(26, 5, cache_read_tokens=19),
        "llama3.2",
    ),
    "Ollama, of a prompt that is in memory": (
        {"model": "llama3.2", "eval_count": 5},
        Usage(None, 5),
        "llama3.2",
    ),
    "Bedrock Converse": (
        {
            "output": {},
            "usage": {
                "inputTokens": 10,
                "outputTokens": 50,
                "totalTokens": 150,
                "cacheReadInputTokens": 70,
                "cacheWriteInputTokens": 20,
            },
        },
        Usage(100, 50, cache_read_tokens=70, cache_creation_tokens=20),
        None,
    ),
    "OpenAI chat completion that wrote to the cache": (
        {
            "model": "gpt-5.5",
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 30},
            },
        },
        Usage(100, 50, cache_read_tokens=40, cache_creation_tokens=30),
        "gpt-5.5",
    ),
    "OpenAI response that wrote to the cache": (
        {
            "model": "gpt-5.5",
            "usage": {
                "input_tokens": 100,
                "output_tokens": 50,
                "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 30},
            },
        },
        Usage(100, 50, cache_read_tokens=40, cache_creation_tokens=30),
        "gpt-5.5",
    ),
    "DeepSeek, which counts cache hits beside the rest": (
        {
            "model": "deepseek-chat",
            "usage": {
                "prompt_tokens": 100,
                "completion_tokens": 50,
                "prompt_cache_hit_tokens": 64,
                "prompt_cache_miss_tokens": 36,
            },
        },
        Usage(100, 50, cache_read_tokens=64),
        "deepseek-chat",
    ),
    "LangChain message of a service tier": (
        {
            "usage_metadata": {
                "input_tokens": 100,
                "output_tokens": 50,
                "total_tokens": 150,
                "input_token_details": {"flex": 60, "flex_cache_read": 40},
                "output_token_details": {"priority": 30, "priority_reasoning": 20},
            }
        },
        Usage(100, 50, cache_read_tokens=40, reasoning_tokens=20),
        None,
    ),
    "LangChain message": (
        {
            "usage_metadata": {
                "input_tokens": 100,
                "output_tokens": 50,
                "total_tokens": 150,
                "input_token_details": {"cache_read": 40, "cache_creation": 7, "audio": 5},
                "output_token_details": {"reasoning": 20, "audio": 3},
            }
        },
        Usage(100, 50, 40, 7, None, 20, 5, 3),
        None,
    ),
}


class TestAResponse:
    @pytest.mark.parametrize(
        ("response", "usage", "model"), RESPONSES.values(), ids=RESPONSES.keys()
    )
    @pytest.mark.parametrize("shape", [dict, as_object], ids=["plain data", "object"])
    def test_a_response_is_understood(self, shape, response, usage, model):
        assert Usage.from_response(shape(response)) == usage
        assert served_model(shape(response)) == model

    @pytest.mark.parametrize("response", [None, {}, "text", {"usage": None}, object(), 7])
    def test_a_response_without_usage_says_nothing(self, response):
        assert Usage.from_response(response) is None
        assert served_model(response) is None

    def test_a_response_that_does_not_say_is_unknown_and_not_zero(self):
        usage = Usage.from_response({"usage": {"completion_tokens": 5}})
        assert usage == Usage(None, 5)
        assert usage.total_tokens == 5
        assert Usage.from_response({"usage": {}}) == Usage()

    def test_a_response_with_one_way_left_out_is_partial(self):
        assert Usage(None, 5).is_partial
        assert Usage(5, None).is_partial
        assert not Usage(5, 0).is_partial

    @pytest.mark.parametrize("parts", [None, 7, "text", {}, [7], [None], [{}]])
    def test_a_response_with_parts_in_a_new_shape_is_read_without_them(self, parts):
        anthropic = {"cache_read_input_tokens": 0, "input_tokens": 5, "output_tokens": 1}
        bedrock = {"inputTokens": 5, "outputTokens": 1}
        gemini = {"promptTokenCount": 5, "candidatesTokenCount": 1}
        for block, name in (
            (anthropic, "iterations"),
            (bedrock, "cacheDetails"),
            (gemini, "promptTokensDetails"),
        ):
            usage = Usage.from_response({"usage": {**block, name: parts}})
            assert usage is not None
            assert (usage.input_tokens, usage.output_tokens) == (5, 1)

    @pytest.mark.parametrize("wrong", [-1, 1.5, math.nan, math.inf, "12", True, [1], {}])
    @pytest.mark.parametrize(
        "block",
        [
            {"prompt_tokens": None, "completion_tokens": 1},
            {"inputTokens": None, "outputTokens": 1, "cacheReadInputTokens": 0},
            {"prompt_token_count": None, "candidates_token_count": 1},
        ],
    )
    def test_a_response_with_counts_that_cannot_be_has_the_rest(self, block, wrong):
        broken = {name: wrong if value is None else value for name, value in block.items()}
        usage = Usage.from_response({"usage": broken})
        assert usage is not None
        assert (usage.input_tokens, usage.output_tokens) == (None, 1)
        assert "is not a valid token count" in str(usage.doubt)
        assert not usage.is_bill

    @pytest.mark.parametrize("model", [5, ["gpt"], None])
    def test_a_response_names_a_model_only_in_text(self, model):
        assert served_model({"model": model}) is None


EMBEDDINGS = {
    "OpenAI, Azure": ({"usage": {"prompt_tokens": 7, "total_tokens": 7}}, 7),
    "Mistral": ({"usage": {"prompt_tokens": 7, "completion_tokens": 0, "total_tokens": 7}}, 7),
    "compatible, with the total alone": ({"usage": {"total_tokens": 7}}, 7),
    "Ollama": ({"embeddings": [[0.5]], "prompt_eval_count": 7}, 7),
    "Cohere": ({"meta": {"billed_units": {"input_tokens": 7.0}}}, 7),
    "Cohere's reranker": ({"meta": {"billed_units": {"search_units": 1}}}, None),
    "Gemini": ({"embeddings": [{"values": [0.5], "statistics": None}]}, None),
    "nothing": ([[0.5, 0.25]], None),
}


class TestAnEmbedding:
    @pytest.mark.parametrize(("response", "tokens"), EMBEDDINGS.values(), ids=EMBEDDINGS.keys())
    @pytest.mark.parametrize("shape", [dict, as_object], ids=["plain data", "object"])
    def test_an_embedding_has_input_and_no_output_where_it_says_so(self, shape, response, tokens):
        response = shape(response) if isinstance(response, dict) else response
        assert Usage.from_embedding(response) == (None if tokens is None else Usage(tokens, 0))

    def test_an_embedding_of_bedrock_says_so_in_its_headers(self):
        headers = {"x-amzn-bedrock-input-token-count": "7"}
        response = {"ResponseMetadata": {"HTTPHeaders": headers}}
        assert Usage.from_embedding(response) == Usage(7, 0)

    @pytest.mark.parametrize(
        ("counts", "tokens"), [([3, 4], 7), ([3, None], None), ([None, None], None), ([], None)]
    )
    def test_an_embedding_of_gemini_on_vertex_is_known_when_every_part_of_it_is(
        self, counts, tokens
    ):
        embeddings = [{"statistics": {"token_count": count}} for count in counts]
        usage = Usage.from_embedding({"embeddings": embeddings})
        assert usage == (None if tokens is None else Usage(tokens, 0))

    @pytest.mark.parametrize("wrong", ["many", "-1", -1, 1.5, math.nan, [7]])
    def test_an_embedding_with_counts_that_cannot_be_is_refused(self, wrong):
        with pytest.raises(ValueError, match=r"."):
            Usage.from_embedding({"prompt_eval_count": wrong})


class TestTheProvidersTime:
    @pytest.mark.parametrize(
        ("response", "seconds"),
        [
            ({"total_duration": 250_000_000}, 0.25),
            ({"ResponseMetadata": {"HTTPHeaders": {LATENCY_HEADER: "250"}}}, 0.25),
            ({"ResponseMetadata": {"HTTPHeaders": {}}}, 0.0),
            ({"usage": {}, "metrics": {"latencyMs": 250}}, 0.25),
            ({"amazon-bedrock-invocationMetrics": {"invocationLatency": 250}}, 0.25),
            ({"usage": {"queue_time": 0.05, "total_time": 0.2}}, 0.25),
            ({"x_groq": {"usage": {"queue_time": 0.05, "total_time": 0.2}}}, 0.25),
            ({"total_duration": "soon"}, 0.0),
            ({"total_duration": -1}, 0.0),
            ({"total_duration": math.nan}, 0.0),
            ({"metrics": {"latencyMs": 10**400}}, 0.0),
            ([[0.5]], 0.0),
        ],
    )
    def test_the_providers_time_is_in_seconds_and_0_where_there_is_none(self, response, seconds):
        assert provider_seconds(response) == seconds


class TestCounts:
    def test_counts_are_whole_numbers(self):
        assert token_count(3, "x") == 3
        assert token_count(3.0, "x") == 3
        assert type(token_count(3.0, "x")) is int
        assert token_count(None, "x") is None

    def test_counts_that_no_metrics_system_could_hold_are_refused(self):
        with pytest.raises(ValueError, match="is not a valid token count"):
            token_count(10**400, "x")

    @pytest.mark.parametrize(
        "counts",
        [
            {"cache_read_tokens": 11},
            {"cache_read_tokens": 6, "cache_creation_tokens": 5},
            {"audio_input_tokens": 11},
            {"reasoning_tokens": 6},
            {"audio_output_tokens": 6},
            {"cache_creation_tokens": 2, "cache_creation_1h_tokens": 3},
        ],
    )
    def test_counts_of_a_part_are_not_above_the_whole(self, counts):
        with pytest.raises(ValueError, match="a part cannot exceed the whole"):
            Usage.of(input_tokens=10, output_tokens=5, **counts)

    def test_counts_never_say_what_they_were(self):
        with pytest.raises(ValueError) as raised:
            Usage.of(input_tokens="my secret prompt")
        assert "secret" not in str(raised.value)


counts = st.none() | st.integers(0, 10**9)
usages = st.builds(Usage, *[counts] * 8)


class TestASum:
    @given(usages, usages)
    def test_a_sum_adds_up_and_does_not_depend_on_the_order(self, one, other):
        assert one + other == other + one
        assert (one + other).total_tokens == one.total_tokens + other.total_tokens

    @given(usages)
    def test_a_sum_with_nothing_known_changes_nothing(self, usage):
        assert usage + Usage() == usage


class TestAnythingAtAll:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(
                        [
                            "usage",
                            "usage_metadata",
                            "input_tokens",
                            "prompt_tokens",
                            "prompt_tokens_details",
                            "cached_tokens",
                            "inputTokens",
                            "cache_read_input_tokens",
                            "cache_creation",
                            "prompt_token_count",
                            "prompt_tokens_details",
                            "cacheDetails",
                            "iterations",
                            "type",
                            "eval_count",
                        ]
                    ),
                    inner,
                )
            ),
        )
    )
    def test_anything_at_all_is_usage_or_none(self, response):
        usage = Usage.from_response(response)
        assert usage is None or (usage.total_tokens >= 0 and usage.stands)
