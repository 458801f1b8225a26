"""The last runs as the page and ``agentmetrics top`` are told of them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import NamedTuple

from agentmetrics.live.last_runs import MOST_RUNS, LastRuns, Run
from agentmetrics.recording.fork import renewed_lock


class ShownRuns(NamedTuple):
    """The runs that there are, each as the JSON that it is sent as; replaced as a whole."""

    number: int = 0
    """Of the latest run."""
    head: bytes = b""
    agents: Mapping[str, tuple[tuple[int, bytes], ...]] = {}

    def since(self, number: int) -> bytes:
        """JSON of the runs after this one, of every agent that has any; ``null`` of nobody."""
        if not self.head:
            return b"null"
        had = number if number <= self.number else 0
        agents = (
            b"%s:[%s]" % (_json(agent), b",".join(told for each, told in runs if each > had))
            for agent, runs in self.agents.items()
        )
        return b'{%s,"agents":{%s}}' % (self.head, b",".join(agents))


class RunsTold:
    """Takes what has ended since, when somebody asks.

    ``of_one_of_several`` is where other processes have runs too that this one does not hear of.
    """

    def __init__(self, runs: LastRuns, *, of_one_of_several: bool) -> None:
        self._runs, self._of_one = runs, of_one_of_several
        self._shown = ShownRuns()
        self._lock = renewed_lock()

    def look(self) -> None:
        """Hear of runs for a while longer, whenever they are taken."""
        self._runs.look()

    def take(self) -> ShownRuns:
        """The runs that there are now; from now on more are heard of."""
        self._runs.look()
        with self._lock:
            shown = self._shown
            kept = self._runs.after(shown.number)
            head = b'"since":%.1f,"one_process":%s' % (kept.since, _json(self._of_one))
            is_same = head == shown.head  # nobody has let go in between
            agents = {
                agent: (
                    *(shown.agents.get(agent, ()) if is_same else ()),
                    *((number, _told(number, run)) for number, run in new),
                )[-MOST_RUNS:]
                for agent, new in kept.runs.items()
            }
            self._shown = ShownRuns(kept.number, head, agents)
            return self._shown


def _told(number: int, run: Run) -> bytes:
    return _ROW % (number, *run[:-1], _quoted(run.status))


_ROW = b"[%d,%.3f,%.4g,%d,%d,%d,%.6g,%s]"  # JSON as well, and made in a microsecond


@functools.cache
def _quoted(status: str) -> bytes:
    return _json(status)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
