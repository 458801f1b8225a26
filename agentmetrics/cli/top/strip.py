"""The last runs as a strip: a bar for each, as high as it took long, and those that stand out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from rich.text import Text

from agentmetrics.calls.outcome import CANCELLED, ERROR, INTERRUPTED, SUCCESS
from agentmetrics.cli.top import fields
from agentmetrics.cli.top.glyphs import Glyphs
from agentmetrics.live.last_runs import Run, odd
from agentmetrics.live.view import AgentRow

COLUMN_WIDTH = 20
MOST_ODD = 6
"""Of which the numbers are shown: what has not succeeded, and the latest."""
_LETTERS = {ERROR: "x", CANCELLED: "c", INTERRUPTED: "i", "slow": "s", "dear": "$"}
_STYLES = {ERROR: "red", CANCELLED: "yellow", INTERRUPTED: "yellow"}
_WORDS = {ERROR: "failed"}
_Odd = tuple[Run, tuple[str, ...]]
_FIELDS: tuple[fields.Field[_Odd], ...] = (
    fields.Field("odd", fields.NAME_WIDTH, 0, lambda row, _: ", ".join(map(_word, row[1]))),
    fields.Field("ended", 8, 2, lambda row, _: time.strftime("%X", time.localtime(row[0].ended))),
    fields.Field("took", 6, 0, lambda row, glyphs: glyphs.seconds(row[0].seconds)),
    fields.Field("calls", 5, 1, lambda row, glyphs: glyphs.count(row[0].calls)),
    fields.Field("tools", 5, 4, lambda row, glyphs: glyphs.count(row[0].tools)),
    fields.Field("tokens", 6, 3, lambda row, glyphs: glyphs.count(row[0].tokens)),
    fields.Field("USD", 7, 0, lambda row, glyphs: glyphs.usd(row[0].usd)),
)


class AgentRuns(NamedTuple):
    """The last runs of one agent; ``are_all`` unless other processes have some, too."""

    runs: Sequence[Run]
    are_all: bool


def strip_lines(found: AgentRuns, glyphs: Glyphs, width: int) -> Iterator[Text]:
    """The strip of one agent, what stands out below it by letters, and the numbers of that."""
    runs = found.runs
    if not runs:
        return
    why = dict(odd(runs))
    shown = runs[-max(1, width) :]
    yield Text()
    yield Text(_title(runs, why.values(), found.are_all), "bold")
    bars = Text(no_wrap=True)
    for run, bar in zip(shown, _bars(shown, glyphs), strict=True):
        bars.append(bar, _STYLES.get(run.status, ""))
    yield bars
    if not why:
        return
    yield Text("".join(_LETTERS[why[run][0]] if run in why else " " for run in shown).rstrip())
    latest = [(run, why[run]) for run in reversed(runs) if run in why]
    latest = sorted(latest, key=lambda each: each[0].status == SUCCESS)[:MOST_ODD]
    title, *lines = fields.lines(_FIELDS, latest, glyphs, width)
    yield Text(title, "bold")
    for (run, _), line in zip(latest, lines, strict=True):
        yield Text(line, _STYLES.get(run.status, ""))


def column(runs: Mapping[str, Sequence[Run]]) -> fields.Field[AgentRow]:
    """The strips as a column of the table, in which a letter stands for what has not succeeded."""

    def text(row: AgentRow, glyphs: Glyphs) -> str:
        shown = runs.get(row.agent, ())[-COLUMN_WIDTH:]
        bars = _bars(shown, glyphs)
        return "".join(_LETTERS.get(run.status, bar) for run, bar in zip(shown, bars, strict=True))

    return fields.Field("last runs", COLUMN_WIDTH, 10, text)


def _title(runs: Sequence[Run], whys: Iterable[tuple[str, ...]], are_all: bool) -> str:
    every = [each for why in whys for each in why]
    strange = [
        f"{every.count(each)} {_word(each)} ({letter})"
        for each, letter in _LETTERS.items()
        if each in every
    ]
    said = ", ".join([f"last {len(runs)} runs" if len(runs) > 1 else "last run", *strange])
    return said if are_all else f"{said}, of one process"


def _word(why: str) -> str:
    return _WORDS.get(why, why)


def _bars(runs: Sequence[Run], glyphs: Glyphs) -> list[str]:
    """As high as the logarithm of what each took, from the quickest to the slowest."""
    logs = [math.log10(max(run.seconds, 1e-4)) for run in runs]
    low, top = min(logs, default=0.0), len(glyphs.levels) - 1
    span = max(max(logs, default=0.0) - low, 1.0)
    return [glyphs.levels[1 + round((top - 1) * (each - low) / span)] for each in logs]
