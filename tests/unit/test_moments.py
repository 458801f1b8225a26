"""Times as people type them: what each spelling means, and what none of them is."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentmetrics.budget.periods import unix_seconds
from agentmetrics.cli.cost.moments import moment

BERLIN = ZoneInfo("Europe/Berlin")
WEDNESDAY = datetime(2025, 11, 19, 14, 30, tzinfo=BERLIN).timestamp()


def meant(said: str, now: float = WEDNESDAY) -> str:
    seconds = unix_seconds(moment("--since", said, now, BERLIN), BERLIN)
    return datetime.fromtimestamp(seconds, BERLIN).isoformat(timespec="minutes")


@pytest.mark.parametrize(
    ("said", "is_meant"),
    [
        ("today", "2025-11-19T00:00+01:00"),
        ("Yesterday", "2025-11-18T00:00+01:00"),
        ("tomorrow", "2025-11-20T00:00+01:00"),
        ("0d", "2025-11-19T00:00+01:00"),
        ("1d", "2025-11-18T00:00+01:00"),
        ("7d", "2025-11-12T00:00+01:00"),
        (" 7  days ago ", "2025-11-12T00:00+01:00"),
        ("1 day", "2025-11-18T00:00+01:00"),
        ("2w", "2025-11-05T00:00+01:00"),
        ("36h", "2025-11-18T02:30+01:00"),
        ("1 hour ago", "2025-11-19T13:30+01:00"),
        ("30d", "2025-10-20T00:00+02:00"),
        ("monday", "2025-11-17T00:00+01:00"),
        ("WEDNESDAY", "2025-11-19T00:00+01:00"),
        ("thursday", "2025-11-13T00:00+01:00"),
        ("2025-11", "2025-11-01T00:00+01:00"),
        ("2025-07-04", "2025-07-04T00:00+02:00"),
        ("2025-11-01T18:00", "2025-11-01T18:00+01:00"),
        ("2025-11-01 18:00", "2025-11-01T18:00+01:00"),
        ("2025-11-01T18:00Z", "2025-11-01T19:00+01:00"),
    ],
)
def test_a_time_may_be_said_as_people_say_it(said, is_meant):
    assert meant(said) == is_meant


def test_a_day_ago_is_a_day_on_the_wall_and_an_hour_ago_is_an_hour():
    after = datetime(2025, 10, 27, 0, 30, tzinfo=BERLIN).timestamp()  # a day of 25 hours
    assert meant("1d", after) == "2025-10-26T00:00+02:00"
    assert meant("25h", after) == "2025-10-26T00:30+02:00"


@pytest.mark.parametrize(
    "said",
    ["", "7", "-7d", "\u0667d", "1m", "7dd", "2025-02-30", "2025-13", "05/11/2025", "last summer"],
)
def test_what_is_no_time_is_refused_with_what_is_one(said):
    with pytest.raises(ValueError, match=r"is not a time: use 2025-11-01, .* 7d, 2w or 36h$"):
        moment("--since", said, WEDNESDAY, BERLIN)


def test_what_is_nearly_one_is_named():
    with pytest.raises(ValueError, match=r"^--until 'yesteday' is not a time: did you mean yest"):
        moment("--until", "yesteday", WEDNESDAY, BERLIN)


@pytest.mark.parametrize("said", ["999999d", "999999w"])
def test_what_no_calendar_has_is_refused(said):
    with pytest.raises(ValueError, match="is before any calendar"):
        moment("--since", said, WEDNESDAY, BERLIN)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_is_refused(said):
    with suppress(ValueError):
        assert isinstance(moment("--since", said, WEDNESDAY, BERLIN), datetime)
