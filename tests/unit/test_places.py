"""A price is that model's at that place: the region, the tier, the time that a cache keeps."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import boto3
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, LLMResult

from agentmetrics import (
    Budget,
    BudgetExceeded,
    MemoryRecorder,
    MetricsCallbackHandler,
    Usage,
    record_call,
    track_call,
    wrap,
)
from agentmetrics.budget.budgets.budgets import Budgets
from agentmetrics.pricing import Prices
from agentmetrics.pricing.file import PriceFile
from agentmetrics.pricing.names import Name
from agentmetrics.pricing.places import factor_at, place_in, tier_and_place, tier_at
from agentmetrics.providers.service_tier import service_tier_of

MTOK = Usage(1_000_000, 0)
NOVA = "amazon.nova-lite-v1:0"
VERTEX = "projects/acme/locations/{}/publishers/{}/models/{}"


def cost(provider: str, model: str, tier: str = "") -> float | None:
    return Prices().cost_usd(provider, model, MTOK, tier)


class TestAPlace:
    def test_a_tier_and_a_place_are_one_text(self):
        assert tier_and_place(tier_at("flex", "eu-west-1")) == ("flex", "eu-west-1")
        assert tier_and_place(tier_at("", "eu-west-1")) == ("", "eu-west-1")
        assert tier_and_place(tier_at("flex", "")) == ("flex", "")

    @pytest.mark.parametrize(
        ("name", "place"),
        [
            ("arn:aws:bedrock:eu-west-1::foundation-model/amazon.nova-lite-v1:0", "eu-west-1"),
            ("arn:aws:bedrock:eu-west-1:1:inference-profile/eu.amazon.nova-lite-v1:0", ""),
            (VERTEX.format("europe-west4", "google", "gemini-2.5-pro"), "europe-west4"),
            ("publishers/google/models/gemini-2.5-pro", ""),
            ("gpt-4o", ""),
        ],
    )
    def test_a_name_may_say_it(self, name, place):
        assert place_in(name) == place

    @pytest.mark.parametrize(
        ("provider", "model", "place", "factor"),
        [
            ("aws", NOVA, "us-east-1", 1.0),
            ("aws", NOVA, "", 1.0),
            ("aws", NOVA, "eu-west-1", None),
            ("aws", f"us.{NOVA}", "us-east-2", 1.0),
            ("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", "eu-west-1", 1.0),
            ("google", "gemini-2.5-pro", "europe-west4", 1.0),
            ("google", "gemini-3.5-flash", "global", 1.0),
            ("google", "gemini-3.5-flash", "europe-west4", None),
            ("google", "claude-sonnet-4@20250514", "us-east5", 1.0),
            ("google", "claude-opus-4-1@20250805", "us-east5", 1.0),
            ("google", "claude-sonnet-4-5@20250929", "us-east5", 1.1),
            ("openai", "gpt-4o", "anywhere", 1.0),
        ],
    )
    def test_it_may_cost_something_else(self, provider, model, place, factor):
        assert factor_at(Name(provider, model), place) == factor

    def test_a_regional_endpoint_of_vertex_costs_a_tenth_more(self):
        there = VERTEX.format("us-east5", "anthropic", "claude-sonnet-4-5@20250929")
        assert cost("google_vertexai", there) == pytest.approx(
            1.1 * (cost("google_vertexai", "claude-sonnet-4-5@20250929") or 0)
        )

    def test_a_plain_id_of_bedrock_has_no_price_in_a_region_that_the_list_is_not_of(self):
        assert cost("amazon_bedrock", NOVA, "@us-west-2") == pytest.approx(0.06)
        assert cost("amazon_bedrock", NOVA, "@eu-central-1") is None

    def test_ones_own_price_is_that_of_every_place_but_those_that_it_names(self, tmp_path):
        path = tmp_path / "prices.toml"
        path.write_text(
            f'[prices.aws."{NOVA}"]\ninput = 7\noutput = 8\n'
            'service_tiers."eu-west-1" = { input = 9, output = 9 }\n'
        )
        prices = Prices(PriceFile(path))
        assert prices.cost_usd("aws", NOVA, MTOK, "@eu-central-1") == 7
        assert prices.cost_usd("aws", NOVA, MTOK, "@eu-west-1") == 9
        assert prices.cost_usd("aws", f"eu.{NOVA}", MTOK) == 7
        assert prices.cost_usd("aws", NOVA, MTOK, "flex@eu-west-1") is None


class TestATier:
    def test_the_program_says_that_it_is_a_batch(self):
        plain, batch = MemoryRecorder(), MemoryRecorder()
        for recorder, tier in ((plain, None), (batch, "batch")):
            with track_call("openai", "gpt-4o", recorder=recorder, service_tier=tier) as call:
                call.record_usage(1000, 100)
        assert batch.value("llm_cost_usd_total") == pytest.approx(
            plain.value("llm_cost_usd_total") / 2
        )

    def test_a_batch_of_a_model_that_the_list_has_no_such_price_of_is_unpriced(self):
        recorder = MemoryRecorder()
        with track_call("aws", NOVA, recorder=recorder, service_tier="batch") as call:
            call.record_usage(1000, 100)
        assert recorder.value("llm_unpriced_calls_total") == 1

    def test_the_tier_that_a_response_names_stands(self):
        recorder = MemoryRecorder()
        answer = {"model": "gpt-4o", "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
        with track_call("openai", "gpt-4o", recorder=recorder, service_tier="batch") as call:
            call.record_response({**answer, "service_tier": "scale"})
        assert recorder.value("llm_unpriced_calls_total") == 1

    def test_the_usual_tier_is_none(self):
        recorder = MemoryRecorder()
        with track_call("openai", "gpt-4o", recorder=recorder, service_tier="default") as call:
            call.record_usage(1000, 100)
        assert recorder.value("llm_cost_usd_total") == pytest.approx(0.0035)

    def test_a_call_that_is_over_has_one_too(self):
        recorder = MemoryRecorder()
        record_call(
            "openai", "gpt-4o", usage=Usage(1000, 100), service_tier="batch", recorder=recorder
        )
        assert recorder.value("llm_cost_usd_total") == pytest.approx(0.00175)

    def test_a_budget_that_reserves_is_asked_for_it(self):
        recorder = MemoryRecorder()
        budget = Budget("b", 100, action="block", reserve="max_tokens")
        budgets = Budgets([budget], recorder)
        most: Any = {"max_input_tokens": 10, "max_output_tokens": 10}
        with (
            pytest.raises(BudgetExceeded),
            track_call("aws", NOVA, recorder=recorder, service_tier="batch", **most),
        ):
            raise AssertionError("its most is unknown")
        budgets.close()

    @pytest.mark.parametrize(
        "response",
        [
            {"performanceConfig": {"latency": "optimized"}, "usage": {"inputTokens": 1}},
            {
                "ResponseMetadata": {
                    "HTTPHeaders": {"x-amzn-bedrock-performanceconfig-latency": "optimized"}
                }
            },
        ],
    )
    def test_optimized_latency_is_one(self, response):
        assert service_tier_of(response) == "optimized"

    def test_optimized_latency_is_joined_with_another(self):
        said = {"serviceTier": {"type": "flex"}, "performanceConfig": {"latency": "optimized"}}
        assert service_tier_of(said) == "flex+optimized"
        assert service_tier_of({"performanceConfig": {"latency": "standard"}}) == ""

    def test_one_that_mistrals_sdk_has_not_been_told_is_none(self):
        from mistralai.client.types import UNSET

        assert service_tier_of({"usage": {"service_tier": UNSET}}) == ""

    def test_a_name_of_one_says_no_place(self):
        assert service_tier_of({"service_tier": "x@global"}) == "x_global"


def heard(
    provider: str,
    model: str,
    details: dict[str, int] | None = None,
    messages: list[Any] | None = None,
    streams: bool = False,
    **more: Any,
) -> MemoryRecorder:
    """A call as LangChain tells it."""
    recorder = MemoryRecorder()
    handler = MetricsCallbackHandler(recorder)
    run_id = uuid4()
    metadata = {"ls_provider": provider, "ls_model_name": model, **more.pop("metadata", {})}
    handler.on_chat_model_start(
        more.pop("serialized", {}),
        [messages or [HumanMessage("hi")]],
        run_id=run_id,
        metadata=metadata,
        invocation_params=more,
    )
    if streams:
        handler.on_llm_new_token("hi", run_id=run_id)
    counts = {"input_tokens": 10_100, "output_tokens": 1, "total_tokens": 10_101}
    usage = {**counts, "input_token_details": details or {}}
    message = AIMessage("hi", usage_metadata=usage, response_metadata={"model_name": model})
    handler.on_llm_end(LLMResult(generations=[[ChatGeneration(message=message)]]), run_id=run_id)
    return recorder


class TestLangChain:
    def test_the_region_of_bedrocks_client_is_a_place(self):
        def priced(region: str, model: str = NOVA) -> bool:
            metadata = {"ls_invocation_params": {"region_name": region}}
            recorder = heard("amazon_bedrock", model, metadata=metadata)
            return recorder.value("llm_unpriced_calls_total") == 0

        assert priced("us-east-1")
        assert not priced("eu-west-1")
        assert priced("eu-west-1", "global.anthropic.claude-sonnet-4-5-20250929-v1:0")

    def test_the_location_of_vertex_is_a_place(self):
        def priced(location: str, **kwargs: Any) -> bool:
            serialized = {"kwargs": {"location": location, **kwargs}}
            recorder = heard("google_genai", "gemini-3.5-flash", serialized=serialized)
            return recorder.value("llm_unpriced_calls_total") == 0

        assert priced("global", vertexai=True)
        assert not priced("europe-west4", vertexai=True)
        assert priced("europe-west4")  # which the Gemini API has none of


HOUR = {"type": "ephemeral", "ttl": "1h"}
FIVE = {"type": "ephemeral"}
WRITTEN = {"cache_creation": 10_000}


def block(control: Any) -> dict[str, Any]:
    return {"type": "text", "text": "long", "cache_control": control}


KEPT = {
    "a system prompt": {"messages": [SystemMessage([block(HOUR)]), HumanMessage("hi")]},
    "a parameter": {"cache_control": HOUR},
    "a tool": {"tools": [{"name": "t", "cache_control": HOUR}]},
    "a tool's result": {
        "messages": [ToolMessage([{"type": "text", "content": [block(HOUR)]}], tool_call_id="1")]
    },
}


class TestAnHourInACache:
    PLAIN = 100 * 3e-6 + 15e-6

    def cost(self, **more: Any) -> float:
        recorder = heard("anthropic", "claude-sonnet-4-5", WRITTEN, streams=True, **more)
        return recorder.value("llm_cost_usd_total")

    @pytest.mark.parametrize("asked", KEPT.values(), ids=KEPT.keys())
    def test_an_hour_costs_its_own_rate_in_a_stream_too(self, asked):
        # https://docs.anthropic.com/en/docs/about-claude/pricing: 6 USD, and 3.75 for five minutes
        assert self.cost(**asked) == pytest.approx(10_000 * 6e-6 + self.PLAIN)

    def test_five_minutes_cost_theirs(self):
        messages = [HumanMessage([block(FIVE)])]
        assert self.cost(messages=messages) == pytest.approx(10_000 * 3.75e-6 + self.PLAIN)

    def test_some_of_each_have_no_price(self):
        messages = [SystemMessage([block(HOUR)]), HumanMessage([block(FIVE)])]
        recorder = heard("anthropic", "claude-sonnet-4-5", WRITTEN, streams=True, messages=messages)
        assert recorder.value("llm_unpriced_calls_total") == 1
        assert recorder.value("llm_tokens_total") == 10_101

    def test_what_the_answer_says_stands(self):
        said = {
            "cache_creation": 0,
            "ephemeral_5m_input_tokens": 10_000,
            "ephemeral_1h_input_tokens": 0,
        }
        recorder = heard("anthropic", "claude-sonnet-4-5", said, cache_control=HOUR)
        assert recorder.value("llm_cost_usd_total") == pytest.approx(10_000 * 3.75e-6 + self.PLAIN)

    def test_nothing_that_was_written_is_nothing_that_is_unknown(self):
        messages = [SystemMessage([block(HOUR)]), HumanMessage([block(FIVE)])]
        recorder = heard("anthropic", "claude-sonnet-4-5", {}, streams=True, messages=messages)
        assert recorder.value("llm_unpriced_calls_total") == 0


class TestAWrappedClient:
    def test_the_region_that_it_speaks_to_is_a_place(self, monkeypatch):
        def priced(region: str) -> bool:
            recorder = MemoryRecorder()
            client = boto3.client(
                "bedrock-runtime",
                region_name=region,
                aws_access_key_id="none",
                aws_secret_access_key="none",
            )
            answer = {"usage": {"inputTokens": 1, "outputTokens": 1}, "stopReason": "end_turn"}
            client.converse = lambda **_: answer
            wrap(client, recorder=recorder).converse(modelId=NOVA, messages=[])
            assert recorder.value("llm_tokens_total") == 2
            return recorder.value("llm_unpriced_calls_total") == 0

        assert priced("us-west-2")
        assert not priced("eu-west-1")

    def test_the_location_of_vertex_is_one_too(self):
        from google import genai
        from google.auth.credentials import AnonymousCredentials

        from agentmetrics.sources.wrap import google
        from agentmetrics.sources.wrap.requests import Recording

        recording = Recording(None, None, MemoryRecorder())
        client = genai.Client(
            vertexai=True,
            project="acme",
            location="europe-west4",
            credentials=AnonymousCredentials(),
        )
        google.attach(client, recording)
        assert recording.place == "europe-west4"
