"""The page on routing and caches: its examples run, and record what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache

from agentmetrics import MemoryRecorder
from agentmetrics.catalog import CATALOG
from tests.services.wire import Refusal, Wire
from tests.unit.scripted import by

PAGE = Path(__file__).parents[2] / "docs" / "routing-and-caches.md"

pytestmark = [
    pytest.mark.filterwarnings("ignore:Unexpected type for token usage:UserWarning"),
    pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning"),
    pytest.mark.filterwarnings("ignore:The default value of `allowed_objects`"),
]


@pytest.fixture
def somewhere(wire: Wire, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and the wire in the place of both providers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{wire.url}/v1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "none")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", wire.url)


@pytest.mark.usefixtures("somewhere")
def test_the_examples_record_what_the_page_says(wire: Wire, agent_metrics: MemoryRecorder) -> None:
    wire.script("gpt-4o", Refusal(401), Refusal(401))
    examples = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL))
    program: dict[str, object] = {"__name__": "examples"}
    try:
        exec(compile(examples, PAGE.name, "exec"), program)
        recorded = agent_metrics.snapshot()
        entries = by(agent_metrics, "cache_entries", "cache_type")
    finally:
        set_llm_cache(None)
    assert by(agent_metrics, "model_selections_total", "intent", "model", "tier") == {
        ("chat", "gpt-4o-mini", "small"): 1
    }
    assert agent_metrics.histogram("model_routing_duration_seconds", intent="chat").count == 1
    assert by(agent_metrics, "model_cost_savings_usd_total", "intent") == {"chat": 0.0021}
    assert by(agent_metrics, "model_fallbacks_total", "intent", "reason") == {
        ("chat", "authentication"): 2
    }
    assert agent_metrics.value("llm_cache_misses_total") == 2
    assert agent_metrics.value("llm_cache_hits_total") == 1
    assert by(agent_metrics, "cache_hits_total", "cache_type") == {"llm": 1, "prompt": 1}
    assert by(agent_metrics, "cache_misses_total", "cache_type") == {
        "llm": 1,
        "disk": 1,
        "prompt": 1,
    }
    assert entries == {"prompt": 1}  # the cache in memory has been replaced, and is gone
    assert recorded["cache_size_bytes"]["series"][0]["labels"] == {"cache_type": "disk"}
    assert agent_metrics.value("agentmetrics_handler_errors_total") == 0


def test_every_metric_that_the_page_names_is_in_the_catalogue() -> None:
    named = set(re.findall(r"`((?:llm|model|cache)_[a-z_]+(?:_total|_seconds))", PAGE.read_text()))
    assert len(named) > 8
    assert named <= {metric.name for metric in CATALOG}
