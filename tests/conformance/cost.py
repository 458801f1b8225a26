"""What a raw response says of its cost, read with neither LangChain nor agentmetrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.conformance.case import Case


def told_cost(case: Case) -> float | None:
    """The cost in USD; ``None`` where the response says nothing, or nothing that can be.

    In a stream the last usage stands.
    """
    objects = case.events if case.streamed else (case.body,)
    usages = [each["usage"] for each in objects if isinstance(each, dict) and each.get("usage")]
    told = _of_usage(usages[-1]) if usages and isinstance(usages[-1], dict) else None
    header = case.headers.get("x-litellm-response-cost")
    if told is None and header is not None:
        told = float(header)
    return None if told is None else round(told, 9)


def _of_usage(usage: Mapping[str, Any]) -> float | None:
    # https://docs.x.ai/docs/api-reference: ten billion ticks are a dollar
    ticks, cost = usage.get("cost_in_usd_ticks"), usage.get("cost")
    if isinstance(ticks, int) and cost is None:
        return ticks / 10_000_000_000
    if isinstance(cost, dict):  # https://docs.perplexity.ai/api-reference
        cost = cost.get("total_cost")
    if not isinstance(cost, int | float) or cost < 0 or ticks is not None:
        return None
    # https://openrouter.ai/docs/use-cases/byok: the provider's bill is beside OpenRouter's
    upstream = (usage.get("cost_details") or {}).get("upstream_inference_cost")
    return cost + (upstream or 0) if usage.get("is_byok") else cost
