"""Sources that are read again and again, each in a thread of its own, into one watch."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from queue import Empty, SimpleQueue

from agentmetrics.cli.top.fetching import Unreachable
from agentmetrics.cli.top.last_runs import RunsOfUrl
from agentmetrics.cli.top.sources import Source, Url
from agentmetrics.live.last_runs import MOST_RUNS, Run
from agentmetrics.live.samples import Snapshot
from agentmetrics.live.watch import Watch

PATIENCE_SECONDS = 10.0
"""From when on a source that is still waited for is said not to answer."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a source is not read, and since when, in seconds of the monotonic clock."""

    text: str
    since: float
    is_final: bool = True
    """Whether it is no longer waited for."""


class Feeds:
    """Follows sources; what they said is in ``watch`` after ``take``.

    A source that hangs holds up neither the others nor who looks: threads end with the program.
    """

    def __init__(self, sources: Sequence[Source], interval: float) -> None:
        self.watch = Watch()
        self.problems: dict[str, Problem] = {}
        """By name of the source."""
        names = _told_apart([source.name for source in sources])
        self._feeds = [_Feed(*each, interval) for each in zip(names, sources, strict=True)]

    @property
    def names(self) -> list[str]:
        return [feed.name for feed in self._feeds]

    @property
    def answers(self) -> int:
        """How often the source that has answered least often, of those without problems, has."""
        return min(
            (feed.count for feed in self._feeds if feed.name not in self.problems), default=0
        )

    def take(self) -> bool:
        """Take what the sources have said meanwhile; whether anything is new."""
        is_new = False
        for feed in self._feeds:
            for said in feed.said():
                is_new = True
                if isinstance(said, Snapshot):
                    self.watch.add(feed.name, said)
                    self.problems.pop(feed.name, None)
                else:
                    self._cannot(feed.name, said)
            if feed.waits_seconds > PATIENCE_SECONDS:
                is_new = is_new or feed.name not in self.problems
                self._cannot(feed.name, f"has not answered for {PATIENCE_SECONDS:g} s", False)
        return is_new

    @property
    def runs(self) -> dict[str, list[Run]]:
        """The last runs of each agent, of all sources that tell them, the latest last."""
        found: dict[str, list[Run]] = {}
        for feed in self._feeds:
            for agent, runs in feed.runs.items():
                found.setdefault(agent, []).extend(runs)
        return {agent: sorted(runs, key=_ended)[-MOST_RUNS:] for agent, runs in found.items()}

    @property
    def has_runs_of_all(self) -> bool:
        """Whether no source has processes whose runs are not among these."""
        return not any(feed.is_one_of_several for feed in self._feeds)

    def close(self) -> None:
        """Ask nobody any more."""
        for feed in self._feeds:
            feed.close()

    def _cannot(self, name: str, why: str, is_final: bool = True) -> None:
        if is_final:
            self.watch.lose(name)
        known = self.problems.get(name)
        self.problems[name] = Problem(why, known.since if known else time.monotonic(), is_final)


_ended = attrgetter("ended")


def _told_apart(names: Sequence[str]) -> list[str]:
    """Two that differ in nothing that may be shown, such as a password, are numbered."""
    before = (names[:place].count(name) for place, name in enumerate(names))
    return [f"{name} ({n + 1})" if n else name for name, n in zip(names, before, strict=True)]


class _Feed:
    """One source."""

    def __init__(self, name: str, source: Source, interval: float) -> None:
        self.name, self.count = name, 0
        self._source, self._interval = source, interval
        self._runs = RunsOfUrl(source.address) if isinstance(source, Url) else None
        self._said: SimpleQueue[Snapshot | str] = SimpleQueue()
        self._asked: float | None = None
        self._is_closed = threading.Event()
        threading.Thread(target=self._read_on, name="agentmetrics-top", daemon=True).start()

    @property
    def waits_seconds(self) -> float:
        """For how long it has been waiting for an answer."""
        asked = self._asked
        return 0.0 if asked is None else time.monotonic() - asked

    @property
    def runs(self) -> Mapping[str, Sequence[Run]]:
        return {} if self._runs is None else self._runs.runs

    @property
    def is_one_of_several(self) -> bool:
        return self._runs is not None and self._runs.is_one_of_several

    def said(self) -> Iterator[Snapshot | str]:
        """What it has answered since, or why it could not be read."""
        while True:
            try:
                said = self._said.get_nowait()
            except Empty:
                return
            self.count += isinstance(said, Snapshot)
            yield said

    def close(self) -> None:
        self._is_closed.set()

    def _read_on(self) -> None:
        while not self._is_closed.is_set():
            begun = self._asked = time.monotonic()
            try:
                said: Snapshot | str = self._source.read()
            except Unreachable as error:
                said = str(error)
            except Exception as error:  # the watch goes on with the others, and says so
                said = f"cannot be read ({type(error).__name__})"
            self._asked = None
            if self._runs is not None and isinstance(said, Snapshot):
                self._runs.read()  # first, so that whoever has seen enough has seen them as well
            self._said.put(said)
            # Whoever takes long to answer has as long a rest.
            self._is_closed.wait(max(self._interval, time.monotonic() - begun))
