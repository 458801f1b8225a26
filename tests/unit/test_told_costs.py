"""Where the provider says what a call has cost, that is its cost; what cannot be a cost is none."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from langchain_core.messages import AIMessage

from agentmetrics import (
    Ledger,
    MemoryRecorder,
    MetricsCallbackHandler,
    Usage,
    record_call,
    track_call,
)
from agentmetrics.providers.costs import GATEWAY, PROVIDER, told_cost
from tests.unit.test_usage import as_object

COUNTS = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
LISTED = 1000 * 2.5e-6 + 100 * 10e-6  # of gpt-4o: https://platform.openai.com/docs/pricing


def answer(usage: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "usage": {**COUNTS, **(usage or {})}, **more}


def recorded(response: Any, provider: str = "openrouter", model: str = "m") -> MemoryRecorder:
    recorder = MemoryRecorder()
    with track_call(provider, model, recorder=recorder) as call:
        call.record_response(response)
    return recorder


TOLD = {
    "OpenRouter": ({"cost": 0.0042}, 0.0042),
    "OpenRouter, for nothing": ({"cost": 0}, 0.0),
    "OpenRouter, with an upstream cost that is in it": (
        {"cost": 0.0042, "cost_details": {"upstream_inference_cost": 0.0042}},
        0.0042,
    ),
    "OpenRouter, with a key of one's own": (
        {
            "cost": 0.0002,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.004},
        },
        0.0042,
    ),
    "Perplexity": (
        {"cost": {"input_tokens_cost": 0.001, "request_cost": 0.006, "total_cost": 0.0071}},
        0.0071,
    ),
    "Perplexity, of its Responses": ({"cost": {"currency": "USD", "total_cost": 0.0071}}, 0.0071),
    "xAI": ({"cost_in_usd_ticks": 42_000_000}, 0.0042),
    "two that agree": ({"cost": 0.0042, "cost_in_usd_ticks": 42_000_000}, 0.0042),
}
NO_COST = {
    "text": {"cost": "0.0042"},
    "below zero": {"cost": -0.1},
    "not a number": {"cost": math.nan},
    "more than any call": {"cost": 1e12},
    "a number beyond floats": {"cost": 10**400},
    "a list": {"cost": [1]},
    "a truth": {"cost": True},
    "a total as text": {"cost": {"total_cost": "0.1"}},
    "another currency": {"cost": {"currency": "EUR", "total_cost": 0.1}},
    "ticks below zero": {"cost_in_usd_ticks": -1},
    "ticks as text": {"cost_in_usd_ticks": "42000000"},
    "two that do not agree": {"cost": 0.0042, "cost_in_usd_ticks": 84_000_000},
    "a key of one's own, and nothing said of its bill": {
        "cost": 0.0001,
        "is_byok": True,
        "cost_details": {"upstream_inference_cost": None},
    },
    "an upstream cost as text": {
        "cost": 0.1,
        "is_byok": True,
        "cost_details": {"upstream_inference_cost": "2"},
    },
}


class TestACostThatIsTold:
    @pytest.mark.parametrize(("usage", "usd"), TOLD.values(), ids=TOLD.keys())
    @pytest.mark.parametrize("shape", [dict, as_object], ids=["plain data", "object"])
    def test_it_is_the_cost_of_the_call(self, shape, usage, usd):
        recorder = recorded(shape(answer(usage)))
        assert recorder.value("llm_cost_usd_total") == pytest.approx(usd)
        assert recorder.value("llm_unpriced_calls_total") == 0
        assert recorder.value("agentmetrics_handler_errors_total") == 0
        assert recorder.value("llm_tokens_total") == 1100

    def test_it_is_that_of_a_model_that_nobody_has_a_price_for(self):
        recorder = recorded(answer({"cost": 0.5}), "a gateway", "its model")
        assert recorder.value("llm_cost_usd_total") == 0.5

    def test_it_is_that_of_a_call_that_is_half_understood(self):
        said = {"prompt_tokens_details": {"video_tokens": 9}, "cost": 0.5}
        assert recorded(answer(said)).value("llm_cost_usd_total") == 0.5

    def test_in_a_stream_it_is_the_last_that_was_told(self):
        recorder = MemoryRecorder()
        chunks = [answer({"cost": usd}, choices=[]) for usd in (0.001, 0.002)]
        with track_call("perplexity", "sonar", recorder=recorder) as call:
            assert list(call.record_stream(iter(chunks))) == chunks
        assert recorder.value("llm_cost_usd_total") == 0.002

    def test_an_unset_cost_of_openrouters_sdk_is_none(self):
        from openrouter.types import UNSET

        assert told_cost({"usage": SimpleNamespace(cost=UNSET)}) is None


class TestAGateway:
    def test_litellms_hidden_parameters_tell_it(self):
        response = SimpleNamespace(**answer(), _hidden_params={"response_cost": 0.0042})
        assert recorded(response).value("llm_cost_usd_total") == 0.0042
        assert told_cost(response) == (0.0042, GATEWAY)

    def test_litellms_header_tells_it_of_a_raw_response(self):
        raw = httpx.Response(
            200,
            headers={"x-litellm-response-cost": "4.2e-03"},
            content=json.dumps(answer()).encode(),
        )
        assert recorded(raw).value("llm_cost_usd_total") == 0.0042

    def test_litellms_header_tells_it_of_an_sdks_raw_response(self):
        raw = httpx.Response(200, headers={"x-litellm-response-cost": "0.0042"}, json=answer())
        assert recorded(SimpleNamespace(http_response=raw)).value("llm_cost_usd_total") == 0.0042

    @pytest.mark.parametrize("said", ["None", ""])
    def test_a_header_that_says_nothing_is_no_cost(self, said):
        raw = httpx.Response(200, headers={"x-litellm-response-cost": said}, json=answer())
        recorder = recorded(raw, "openai", "gpt-4o")
        assert recorder.value("llm_cost_usd_total") == pytest.approx(LISTED)
        assert recorder.value("agentmetrics_handler_errors_total") == 0

    def test_a_providers_figure_is_before_a_gateways(self):
        said = answer({"cost": 0.0042})
        assert told_cost(said, {"x-litellm-response-cost": "0.00421"}) == (0.0042, PROVIDER)


class TestWhatCannotBeACost:
    @pytest.mark.parametrize("usage", NO_COST.values(), ids=NO_COST.keys())
    def test_it_is_counted_and_the_list_says_the_cost(self, usage):
        recorder = recorded(answer(usage), "openai", "gpt-4o")
        assert recorder.value("agentmetrics_handler_errors_total", event="cost") == 1
        assert recorder.value("llm_calls_total", status="success") == 1
        assert recorder.value("llm_tokens_total") == 1100
        assert recorder.value("llm_cost_usd_total") == pytest.approx(LISTED)

    def test_it_is_counted_once_in_a_stream_that_repeats_it(self):
        recorder = MemoryRecorder()
        with track_call("openai", "gpt-4o", recorder=recorder) as call:
            list(call.record_stream(iter([answer({"cost": -1}, choices=[])] * 5)))
        assert recorder.value("agentmetrics_handler_errors_total", event="cost") == 1
        assert recorder.value("llm_cost_usd_total") == pytest.approx(LISTED)


class TestTheDifference:
    def difference(self, recorder: MemoryRecorder, direction: str) -> float:
        return recorder.value("llm_cost_difference_usd_total", direction=direction)

    def test_it_is_how_far_what_is_told_is_from_the_list(self):
        recorder = recorded(answer({"cost": 0.005}), "openai", "gpt-4o")
        assert self.difference(recorder, "above") == pytest.approx(0.005 - LISTED)
        recorder = recorded(answer({"cost": 0.001}), "openai", "gpt-4o")
        assert self.difference(recorder, "below") == pytest.approx(LISTED - 0.001)

    def test_there_is_none_where_the_list_has_no_price_or_says_the_same(self):
        for response, model in [
            ({**answer({"cost": 0.5}), "model": "x"}, "x"),
            (answer(), "gpt-4o"),
        ]:
            recorder = recorded(response, "openai", model)
            assert self.difference(recorder, "above") == self.difference(recorder, "below") == 0

    def test_a_figure_of_the_programs_own_is_not_compared(self):
        recorder = MemoryRecorder()
        record_call("openai", "gpt-4o", usage=Usage(1000, 100), cost_usd=9.0, recorder=recorder)
        assert recorder.value("llm_cost_usd_total") == 9.0
        assert self.difference(recorder, "above") == 0


class TestLangChain:
    def said(self, **metadata: Any) -> MemoryRecorder:
        from langchain_core.language_models import GenericFakeChatModel

        recorder = MemoryRecorder()
        counts = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
        message = AIMessage(
            "hi",
            usage_metadata=counts,
            response_metadata={"model_name": "gpt-4o", "model_provider": "openai", **metadata},
        )
        model = GenericFakeChatModel(messages=iter([message]))
        model.invoke("hello", {"callbacks": [MetricsCallbackHandler(recorder)]})
        return recorder

    def test_the_usage_that_openais_package_hands_on_tells_it(self):
        recorder = self.said(token_usage={**COUNTS, "cost": 0.0042})
        assert recorder.value("llm_cost_usd_total") == 0.0042

    def test_openrouters_package_puts_it_beside(self):
        recorder = self.said(cost=0.0042, cost_details={"upstream_inference_cost": 0.0042})
        assert recorder.value("llm_cost_usd_total") == 0.0042

    def test_headers_that_were_asked_for_tell_it(self):
        recorder = self.said(headers={"x-litellm-response-cost": "0.0042"})
        assert recorder.value("llm_cost_usd_total") == 0.0042

    def test_what_cannot_be_a_cost_is_counted(self):
        recorder = self.said(token_usage={**COUNTS, "cost": "4"})
        assert recorder.value("agentmetrics_handler_errors_total", event="cost") == 1
        assert recorder.value("llm_tokens_total") == 1100


class TestTheLedger:
    def test_it_says_whose_figure_a_cost_is(self, tmp_path):
        recorder = MemoryRecorder()
        with Ledger(f"sqlite:///{tmp_path}/spend.db") as ledger:
            ledger.attach(recorder)
            for response in (answer(), answer({"cost": 0.005})):
                with track_call("openai", "gpt-4o", recorder=recorder) as call:
                    call.record_response(response)
            with track_call("openai", "gpt-4o", recorder=recorder) as call:
                call.record_usage(10, 10, cost_usd=2.0)
            raw = httpx.Response(200, headers={"x-litellm-response-cost": "0.25"}, json=answer())
            with track_call("openai", "gpt-4o", recorder=recorder) as call:
                call.record_response(raw)
            groups = ledger.summary("daily", by=["cost_source"]).groups
        found = {group.labels["cost_source"]: float(group.amounts.cost_usd) for group in groups}
        assert found == {"list": LISTED, "provider": 0.005, "gateway": 0.25, "program": 2.0}
