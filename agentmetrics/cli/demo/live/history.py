"""What the ledger of the live traffic knows of the days before: made up, since nobody waits a week.

No request is sent. With it the cost report has a previous day to compare with, and the spend of an
hour has others beside which it is usual or not.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from agentmetrics import Ledger, NoopRecorder, track_call

_DAYS = 4
_HOURS = 24 * _DAYS
_HOUR_SECONDS = 3600
_HOURLY = (  # agent, model, and its input and output tokens in an hour
    ("guide", "gpt-4o", 36_000, 66_000),
    ("translator", "gpt-4.1", 24_000, 50_000),
    ("writer", "gpt-4o", 25_000, 21_000),
)


def write_history(url: str) -> None:
    """Write some calls for each hour of the last days, but none of today, into the ledger."""
    recorder, clock = NoopRecorder(), _Clock()
    with Ledger(url, flush_interval_seconds=_HOUR_SECONDS, clock=clock) as ledger:
        ledger.attach(recorder)
        for clock.now in _hours():
            for agent, model, input_tokens, output_tokens in _HOURLY:
                with track_call("openai", model, agent_name=agent, recorder=recorder) as call:
                    call.record_usage(input_tokens, output_tokens)


class _Clock:
    """A clock that stands where it was set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _hours() -> Iterator[float]:
    """The half of each of those hours, in Unix time; days begin in UTC."""
    today = time.time() // (24 * _HOUR_SECONDS) * 24 * _HOUR_SECONDS
    for hours in range(_HOURS, 0, -1):
        yield today - hours * _HOUR_SECONDS + _HOUR_SECONDS / 2
