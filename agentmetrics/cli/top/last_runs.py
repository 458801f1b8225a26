"""The last runs of a program that serves the live page, asked for beside its /metrics."""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

from agentmetrics.cli.top.fetching import fetched
from agentmetrics.config.loading import load_settings
from agentmetrics.errors import ConfigurationError
from agentmetrics.live.last_runs import MOST_AGENTS, MOST_RUNS, STATUSES, Run
from agentmetrics.recording.metric import clean_label

PATH = "/agentmetrics/runs"
MAX_BYTES = 16 * 1024 * 1024
AGAIN_SECONDS = 30.0
"""Until a program that has not told its runs is asked again: most have no page."""


class RunsOfUrl:
    """What the program at a URL of /metrics tells of its runs; nothing where it tells none."""

    def __init__(self, metrics: str) -> None:
        parts = urlsplit(metrics)
        above, found, _ = parts.path.rstrip("/").rpartition("/metrics")
        is_beside = bool(found) and parts.path.rstrip("/").endswith("/metrics")
        page = parts._replace(path=f"{above}{PATH}", query="", fragment="").geturl()
        self._address = page if is_beside else ""
        self._token = _token()
        self._client = secrets.token_hex(8)
        self._last, self._number, self._again = "", 0, 0.0
        self.runs: Mapping[str, Sequence[Run]] = {}
        """By agent, the latest last; replaced as a whole."""
        self.is_one_of_several = False
        """Whether other processes there have runs too, of which nothing is known."""

    def read(self) -> None:
        """Take what is new. Never raises."""
        if not self._address or time.monotonic() < self._again:
            return
        query = urlencode({"client": self._client, "last": self._last})
        try:
            said = json.loads(fetched(self._address, query, MAX_BYTES, self._token))
            self._take(said)
        except Exception:  # whoever answers there, with whatever
            self._again = time.monotonic() + AGAIN_SECONDS

    def _take(self, said: Any) -> None:
        last, told = str(said["last"]), said["runs"]
        if last.partition("-")[0] != self._last.partition("-")[0]:
            self.runs, self._number = {}, 0  # another process: its numbers are its own
        self._last = last
        if told is None:
            raise ValueError
        new: dict[str, Sequence[Run]] = {}
        number = self._number
        for agent, rows in [*told["agents"].items()][:MOST_AGENTS]:
            fresh = [row for row in rows if row[0] > self._number]
            number = max([number, *(row[0] for row in fresh)])
            name = clean_label(agent)
            known = (*self.runs.get(name, ()), *map(_run, fresh))
            new[name] = known[-MOST_RUNS:]
        self.runs, self._number = new, number
        self.is_one_of_several = told.get("one_process") is True


def _run(row: Sequence[Any]) -> Run:
    """Raises ``ValueError`` for what is none, whoever answers there."""
    _, *numbers, status = row
    ended, seconds, calls, tools, tokens, usd = map(float, numbers)
    if status not in STATUSES or not all(0 <= float(each) < math.inf for each in numbers):
        raise ValueError
    return Run(ended, seconds, int(calls), int(tools), int(tokens), usd, status)


def _token() -> str:
    """That of the page, as a server has it."""
    with suppress(ConfigurationError):
        token = load_settings().page_token
        return token.get_secret_value() if token else ""
    return ""
