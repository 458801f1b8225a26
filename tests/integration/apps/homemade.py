"""A metrics module as teams write their own: what ``monitoring`` is in the migration page.

It stands in for readers' modules, with their faults: it counts successes alone, and has a token
type ``total``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.registry import REGISTRY


def make_module(registry: CollectorRegistry = REGISTRY) -> ModuleType:
    """The module, with its series on this registry."""
    call = ["agent_name", "provider", "model"]
    calls = Counter("llm_calls_total", "Calls.", [*call, "status"], registry=registry)
    tokens = Counter("llm_tokens_total", "Tokens.", [*call, "token_type"], registry=registry)
    cost = Counter("llm_cost_usd_total", "Cost.", call, registry=registry)
    requests = Counter(
        "llm_requests_total", "Requests.", ["provider", "task_type", "model"], registry=registry
    )
    used = Counter("llm_tokens_used", "Tokens.", ["token_type"], registry=registry)
    errors = Counter("llm_errors_total", "Errors.", ["error_type"], registry=registry)
    operations = Counter("prompt_cache_operations", "Look-ups.", ["operation"], registry=registry)
    size = Gauge("prompt_cache_size", "Entries.", registry=registry)
    selections = Counter(
        "model_selections_total", "Choices.", ["intent", "model", "tier"], registry=registry
    )

    @contextmanager
    def monitor_llm_call(agent_name: str, model: str, provider: str) -> Iterator[SimpleNamespace]:
        told = SimpleNamespace(input_tokens=0, output_tokens=0, cost_usd=0.0)
        yield told
        labels = (agent_name, provider, model)
        calls.labels(*labels, "success").inc()
        tokens.labels(*labels, "input").inc(told.input_tokens)
        tokens.labels(*labels, "output").inc(told.output_tokens)
        tokens.labels(*labels, "total").inc(told.input_tokens + told.output_tokens)
        cost.labels(*labels).inc(told.cost_usd)

    def track_llm_request(provider: str, task_type: str, model: str, *, tokens: int) -> None:
        requests.labels(provider, task_type, model).inc()
        used.labels("total").inc(tokens)

    module = ModuleType("monitoring", "The reader's own.")
    members: dict[str, Any] = {
        "monitor_llm_call": monitor_llm_call,
        "track_llm_request": track_llm_request,
        "track_llm_error": lambda kind: errors.labels(kind).inc(),
        "record_prompt_cache_operation": lambda operation: operations.labels(operation).inc(),
        "set_prompt_cache_size": size.set,
        "record_model_selection": lambda *labels: selections.labels(*labels).inc(),
        "CostTracker": CostTracker,
    }
    vars(module).update(members)
    return module


class CostTracker:
    """Keeps a day's cost in memory."""

    def __init__(self, daily_budget: float) -> None:
        self.daily_budget = daily_budget
        self._by_model: defaultdict[str, float] = defaultdict(float)

    def record_cost(self, model: str, cost: float) -> None:
        self._by_model[model] += cost

    def get_daily_summary(self) -> dict[str, Any]:
        return {"total_cost": sum(self._by_model.values()), "by_model": dict(self._by_model)}

    def check_budget_threshold(self, percent: float) -> bool:
        return sum(self._by_model.values()) >= self.daily_budget * percent / 100
