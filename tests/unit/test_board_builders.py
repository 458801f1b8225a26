"""The programs that make the boards: nothing is lost, unknown or forgotten. Needs Python 3.11."""

from __future__ import annotations

import json
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from agentmetrics import catalog
from agentmetrics.operations.boards import boards
from agentmetrics.operations.naming import METRICS
from boards import BOARDS
from boards.exemptions import EXEMPT
from boards.panels import metrics_of
from boards.selectors import sel
from tests.services import grafana

EXPORTED = boards("acme", ("tenant",))
COMMITTED = boards()


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize("made", [COMMITTED, EXPORTED], ids=["committed", "exported"])
def test_a_board_goes_through_grafanas_own_types_without_a_key_lost(
    made: dict[str, dict[str, Any]], name: str
) -> None:
    there = Dashboard.from_json(json.loads(json.dumps(made[name])))
    back = json.loads(json.dumps(there, cls=JSONEncoder))
    assert back == made[name]


@pytest.mark.parametrize("name", BOARDS)
def test_the_committed_board_is_current(name: str) -> None:
    assert BOARDS[name]() == COMMITTED[name], "run: make docs"


def test_every_metric_is_in_a_panel_or_exempt() -> None:
    exprs = [
        target["expr"]
        for board in COMMITTED.values()
        for panel in grafana.panels(board)
        for target in panel["targets"]
    ]
    shown = {name for name in metrics_of(*exprs) if name in METRICS}
    assert METRICS.keys() - shown == EXEMPT.keys()
    assert all(EXEMPT.values())


class TestSelectors:
    def test_a_label_that_the_metric_has_not_is_refused(self) -> None:
        with pytest.raises(ValueError, match="agent_runs_total has no label 'model'"):
            sel(catalog.AGENT_RUNS, model="gpt-4o")

    def test_a_value_that_a_closed_label_has_not_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"status of llm_calls_total is never \{'failed'\}"):
            sel(catalog.LLM_CALLS, status="failed")

    def test_a_histogram_is_asked_for_by_its_parts(self) -> None:
        with pytest.raises(ValueError, match="llm_latency_seconds is a histogram"):
            sel(catalog.LLM_LATENCY)
        assert sel(catalog.LLM_LATENCY, "_count").startswith("llm_latency_seconds_count{")

    def test_a_value_stands_for_the_variable_of_its_label(self) -> None:
        assert sel(catalog.LLM_CACHE_HITS, agent_name="writer") == (
            'llm_cache_hits_total{job=~"$job", instance=~"$instance", model=~"$model", '
            'agent_name="writer"}'
        )
