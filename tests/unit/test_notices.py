"""Destinations of budget notices, what they are sent, and what is never said of them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.message import Message
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics import Budget
from agentmetrics.budget.budgets.budget import BudgetStatus
from agentmetrics.budget.budgets.notices import destinations_of, notice_of
from agentmetrics.budget.notify.courier import _pause
from agentmetrics.budget.notify.destination import Destination, parse_all
from agentmetrics.budget.notify.post import _wait_seconds

SECRET = "https://hooks.slack.com/services/T0/B0/s3cret"
DAY = datetime(2026, 11, 28, tzinfo=timezone.utc)


def status_of(budget: Budget, spent_usd: float = 40.125, day: datetime = DAY) -> BudgetStatus:
    return BudgetStatus(
        budget.name, budget.period, budget.scope, budget.limit_usd, spent_usd, 0.0,
        day + timedelta(days=1), day, day + timedelta(hours=9),
    )  # fmt: skip


def text_of(budget: Budget, threshold: float = 80.0, spent_usd: float = 40.125) -> str:
    kind: Any = "exceeded" if threshold >= 100 else "threshold"
    notice = notice_of(kind, budget, status_of(budget, spent_usd), threshold)
    said = json.loads(notice.body("slack"))
    assert said.keys() == {"text"}
    return str(said["text"])


def sentence_about(notify: list[str]) -> str:
    """What is said of these; nothing where they are destinations."""
    try:
        parse_all(notify)
    except ValueError as error:
        return str(error)
    return ""


class TestDestinations:
    def test_destinations_are_a_kind_and_a_variable_each_once(self) -> None:
        team = Budget("team", 1, notify=["slack:SLACK_URL", "webhook:HOOK", "slack:SLACK_URL"])
        assert team.notify == ("slack:SLACK_URL", "webhook:HOOK")
        assert team.destinations() == (
            Destination("slack", "SLACK_URL"),
            Destination("webhook", "HOOK"),
        )

    @pytest.mark.parametrize(
        ("notify", "said"),
        [
            ("slack:SLACK_URL", "notify: must be a list of 'slack:VARIABLE' or"),
            ({"slack": "SLACK_URL"}, "notify: must be a list of"),
            (None, "notify: must be a list of"),
            ([SECRET], "notify[0]: must be 'slack:VARIABLE' or 'webhook:VARIABLE', where VARI"),
            (["slack:A", f"slack:{SECRET}"], "notify[1]: must be"),
            (["slack:"], "notify[0]: must be"),
            ([7], "notify[0]: must be"),
            (["slack:A\n"], "notify[0]: must be"),
            (["smtp:MAIL"], "notify[0]: 'smtp' is not a known kind of destination: use 'slack:"),
        ],
    )
    def test_destinations_that_cannot_be_are_refused_in_one_sentence(
        self, notify: Any, said: str
    ) -> None:
        with pytest.raises(ValueError) as refused:
            Budget("team", 1, notify=notify)
        assert str(refused.value).startswith(said)
        assert "s3cret" not in str(refused.value)

    @given(st.text(min_size=8), st.sampled_from(["", "slack:", "webhook:", "https://"]))
    def test_destinations_are_never_quoted_where_they_may_be_the_url(
        self, text: str, before: str
    ) -> None:
        kind = (before + text).partition(":")[0]
        assert text not in sentence_about([before + text]).replace(repr(kind), "")

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (None, "the environment variable SLACK_URL is not set"),
            (" ", "the environment variable SLACK_URL is not set"),
            ("ftp://s3cret.example/x", "must hold an http:// or https:// URL"),
            ("file:///etc/s3cret", "must hold an http:// or https:// URL"),
            ("s3cret", "must hold an http"),
            ("https://", "must hold an http"),
            ("https://joe:s3cret@example.com/", "without a user name"),
            ("https://example.com:s3cret/", "must hold an http"),
            ("https://example.com/s3cret x", "must hold an http"),
            ("https://[s3cret/", "must hold an http"),
            ("https://example.com/s3cret\N{EM DASH}", "must hold an http"),
        ],
    )
    def test_destinations_without_a_usable_url_name_budget_and_variable_alone(
        self, value: str | None, said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SLACK_URL", raising=False)
        if value is not None:
            monkeypatch.setenv("SLACK_URL", value)
        with pytest.raises(ValueError) as refused:
            destinations_of([Budget("team", 1, notify=["slack:SLACK_URL"])])
        assert str(refused.value).startswith("budget 'team': notify='slack:SLACK_URL': ")
        assert said in str(refused.value)
        assert "s3cret" not in str(refused.value)

    def test_destinations_show_no_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SLACK_URL", f"{SECRET}\n")
        team = Budget("team", 1, notify=["slack:SLACK_URL"])
        (destination,) = destinations_of([team])
        assert destination.url().get_secret_value() == SECRET
        shown = f"{team!r} {destination!r} {destination} {destination.url()!r} {destination.url()}"
        assert "s3cret" not in shown


class TestWhatIsSent:
    def test_what_is_sent_to_slack_says_how_the_budget_stands(self) -> None:
        assert text_of(Budget("team", 50, scope={"agent_name": "planner"})) == (
            'The daily budget "team" (agent_name=planner) passed 80%: USD 40.1250 of USD 50.0000 '
            "spent. It resets at 2026-11-29 00:00 UTC."
        )

    def test_what_is_sent_to_slack_says_that_calls_are_blocked(self) -> None:
        blocking, warning = Budget("team", 50, action="block"), Budget("team", 50)
        assert "Its calls are blocked until 2026-11-29" in text_of(blocking, 100, 51)
        assert "blocked" not in text_of(blocking, 80)
        assert "blocked" not in text_of(warning, 100, 51)

    def test_what_is_sent_to_slack_has_outside_names_escaped_and_short(self) -> None:
        odd = Budget("<!channel> & co\n", 50, scope={"agent_name": "<https://x|y>" + "z" * 1000})
        said = text_of(odd)
        assert "&lt;!channel&gt; &amp; co_" in said
        assert "&lt;https://x|y&gt;" in said
        assert not {"<", ">", "\n"} & set(said)
        assert len(said) < 500

    def test_what_is_sent_to_a_webhook_is_the_documented_json(self) -> None:
        team = Budget("team", 50, scope={"agent_name": "planner"}, action="block")
        said = json.loads(notice_of("threshold", team, status_of(team), 80.0).body("webhook"))
        assert len(said.pop("id")) == 32
        assert said == {
            "version": 1,
            "kind": "threshold",
            "budget": "team",
            "period": "daily",
            "scope": {"agent_name": "planner"},
            "action": "block",
            "threshold": 80.0,
            "spent_usd": 40.125,
            "limit_usd": 50,
            "remaining_usd": 9.875,
            "starts_at": "2026-11-28T00:00:00+00:00",
            "resets_at": "2026-11-29T00:00:00+00:00",
        }

    def test_what_is_sent_has_one_id_for_what_is_passed_once(self) -> None:
        def id_of(budget: Budget, threshold: float = 80.0, **options: Any) -> str:
            return notice_of("threshold", budget, status_of(budget, **options), threshold).id

        team = Budget("team", 50)
        assert id_of(team) == id_of(Budget("team", 50), spent_usd=41)
        others = [
            id_of(Budget("firm", 50)),
            id_of(Budget("team", 60)),  # what a raised limit passes is news
            id_of(replace(team, scope={"agent_name": "planner"})),
            id_of(team, 90),
            id_of(team, day=DAY + timedelta(days=1)),
        ]
        assert len({id_of(team), *others}) == 6


class TestPauses:
    def test_pauses_grow_and_end_at_five_minutes(self) -> None:
        for tries in range(1, 21):
            longest = min(300, 2 ** (tries - 1))
            assert longest / 2 <= _pause(tries, 0) <= longest

    def test_pauses_are_as_long_as_the_receiver_asks_within_reason(self) -> None:
        assert _pause(1, 30) == 30
        assert _pause(1, 1e9) == 300

    @pytest.mark.parametrize(
        ("said", "seconds"),
        [("7", 7), ("", 0), ("soon", 0), ("-3", 0), ("9" * 400, 999_999_999), ("Mon, 99", 0)],
    )
    def test_pauses_that_a_receiver_asks_for_are_read_from_what_it_says(
        self, said: str, seconds: float
    ) -> None:
        headers = Message()
        headers["Retry-After"] = said
        assert _wait_seconds(headers) == seconds

    def test_pauses_that_a_receiver_asks_for_may_end_at_a_date(self) -> None:
        headers = Message()
        in_a_minute = datetime.now(timezone.utc) + timedelta(minutes=1)
        headers["Retry-After"] = format_datetime(in_a_minute, usegmt=True)
        assert 50 < _wait_seconds(headers) <= 60
