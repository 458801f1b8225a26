"""Service tiers over HTTP: the provider packages hand them on, and calls cost what they say."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel

from agentmetrics import MemoryRecorder, MetricsCallbackHandler
from tests.integration.apps import traffic
from tests.services.wire import Answer, Wire

pytestmark = [pytest.mark.anyio, pytest.mark.asyncio_alone]

# USD per million tokens, input and output: developers.openai.com/api/docs/pricing,
# platform.claude.com/docs/en/about-claude/pricing
RATES = {
    ("openai", "gpt-5", "default"): (1.25, 10),
    ("openai", "gpt-5", "flex"): (0.625, 5),
    ("openai", "gpt-5", "priority"): (2.5, 20),
    ("anthropic", "claude-haiku-4-5", "standard"): (1, 5),
    ("anthropic", "claude-haiku-4-5", "batch"): (0.5, 2.5),
}


def _model(wire: Wire, provider: str, name: str, recorder: MemoryRecorder) -> BaseChatModel:
    maker = traffic.openai if provider == "openai" else traffic.anthropic
    return maker(wire, "a", name, callbacks=[MetricsCallbackHandler(recorder)])


async def _streamed(model: BaseChatModel) -> None:
    async for _ in model.astream("x"):
        pass


async def _whole(model: BaseChatModel) -> None:
    await model.ainvoke("x")


WAYS: dict[str, Any] = {"whole": _whole, "streamed": _streamed}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tier", ["default", "flex", "priority"])
async def test_openais_tier_has_its_price_streamed_or_not(
    way: str, tier: str, wire: Wire, recorder: MemoryRecorder
) -> None:
    wire.script("gpt-5", Answer(fresh=3000, output=700, service_tier=tier))
    await WAYS[way](_model(wire, "openai", "gpt-5", recorder))
    input_rate, output_rate = RATES["openai", "gpt-5", tier]
    expected = (3000 * input_rate + 700 * output_rate) / 1e6
    assert recorder.value("llm_cost_usd_total") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("tier", ["standard", "batch"])
async def test_anthropics_tier_has_its_price(
    tier: str, wire: Wire, recorder: MemoryRecorder
) -> None:
    wire.script("claude-haiku-4-5", Answer(fresh=3000, output=700, service_tier=tier))
    await _whole(_model(wire, "anthropic", "claude-haiku-4-5", recorder))
    input_rate, output_rate = RATES["anthropic", "claude-haiku-4-5", tier]
    expected = (3000 * input_rate + 700 * output_rate) / 1e6
    assert recorder.value("llm_cost_usd_total") == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("provider", "model", "tier"),
    [("openai", "gpt-5", "scale"), ("anthropic", "claude-haiku-4-5", "priority")],
)
async def test_a_tier_without_a_price_makes_the_call_unpriced(
    provider: str, model: str, tier: str, wire: Wire, recorder: MemoryRecorder
) -> None:
    wire.script(model, Answer(service_tier=tier))
    await _whole(_model(wire, provider, model, recorder))
    assert recorder.value("llm_unpriced_calls_total", provider=provider) == 1
    assert recorder.value("llm_cost_usd_total") == 0
