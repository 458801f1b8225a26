"""Errors survive what happens to errors: pickles, and the JSON of a task queue's result backend."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

import pytest

from agentmetrics import BudgetExceeded, ConfigurationError, LedgerUnavailable
from agentmetrics.errors import UnknownMetricError
from agentmetrics.providers.failures import ErrorInResponse

RESETS = datetime(2026, 11, 29, tzinfo=timezone.utc)


def refused(resets_at: datetime | None = RESETS) -> BudgetExceeded:
    return BudgetExceeded("team", "daily", {"agent_name": "reviewer"}, 1.25, 1.0, resets_at)


@pytest.mark.parametrize("resets_at", [RESETS, None])
class TestARefusal:
    def test_a_refusal_is_made_again_from_its_args(self, resets_at) -> None:
        error = refused(resets_at)
        again = BudgetExceeded(*error.args)
        assert str(again) == str(error)
        assert vars(again) == vars(error)

    def test_a_refusal_is_made_again_from_its_args_as_json(self, resets_at) -> None:
        error = refused(resets_at)
        again = BudgetExceeded(*json.loads(json.dumps(error.args)))
        assert str(again) == str(error)
        assert again.resets_at == resets_at
        assert again.scope == {"agent_name": "reviewer"}

    @pytest.mark.parametrize("way", [copy.copy, lambda e: pickle.loads(pickle.dumps(e))])
    def test_a_refusal_is_the_same_after_a_copy_and_a_pickle(self, resets_at, way) -> None:
        error = refused(resets_at)
        assert str(way(error)) == str(error)
        assert vars(way(error)) == vars(error)


def test_a_refusal_is_one_sentence() -> None:
    assert str(refused()) == (
        "the daily budget 'team' for agent_name=reviewer is spent: 1.250000 of 1.000000 USD; "
        "it resets at 2026-11-29 00:00 UTC"
    )


def test_a_pickle_keeps_the_time_zone() -> None:
    error = refused(datetime(2026, 11, 29, tzinfo=ZoneInfo("Europe/Berlin")))
    assert str(pickle.loads(pickle.dumps(error))).endswith("2026-11-29 00:00 CET")


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError("one", "two"),
        LedgerUnavailable("away"),
        UnknownMetricError("no such metric"),
        ErrorInResponse(502),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_error_is_made_again_from_its_args(error: Exception) -> None:
    assert str(type(error)(*error.args)) == str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_several_mistakes_are_told_together() -> None:
    assert str(ConfigurationError("A=1: no", "B=2: no")) == "A=1: no; B=2: no"
