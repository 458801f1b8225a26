"""The report as a picture, for a message or a slide; drawn by matplotlib."""

from __future__ import annotations

import warnings
from bisect import bisect
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from agentmetrics.budget.ledger.summary import PeriodAmounts
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.cli.console import note, visible
from agentmetrics.cli.cost import words
from agentmetrics.cli.cost.bars import round_numbers
from agentmetrics.cli.cost.palette import MOST_SERIES, ON_WHITE, OTHERS_ON_WHITE
from agentmetrics.cli.cost.report import Report
from agentmetrics.cli.cost.steps import Series, dearest, is_dense, names_of, steps_of
from agentmetrics.cli.cost.words import NOTHING

_WIDTH, _MARGIN, _LINE, _CHART = 9.0, 0.45, 0.29, 3.3
"""Inches, as all lengths here."""
_LEFT = _MARGIN + 0.55
_BESIDE = _WIDTH - _MARGIN - _LEFT
"""Where the chart begins, and how much room there is from there."""
_MOST_ROWS = 12
_DPI = 160
_TEXT, _SOFT, _RULE, _UP, _DOWN = "#16181d", "#596070", "#d9dce2", "#b42318", "#0b6b4f"
_FONTS = (
    "DejaVu Sans",  # matplotlib brings it along
    "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans JP", "Noto Sans SC", "Hiragino Sans",
    "PingFang SC", "Yu Gothic", "Microsoft YaHei", "Malgun Gothic", "WenQuanYi Zen Hei",
    "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji",
)  # fmt: skip
"""Tried one after the other for each letter, as far as they are on the machine."""


def made(report: Report) -> bytes:
    """The picture, as PNG."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    style: Any = {
        "font.family": [name for name in _FONTS if name in installed],
        "font.size": 10,
        "text.color": _TEXT,
        "text.parse_math": False,  # a name is no formula
    }
    stored = BytesIO()
    with mpl.rc_context(), warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        mpl.rcdefaults()  # whatever the user's own matplotlibrc says
        mpl.rcParams.update(style)
        _Sheet(report).figure.savefig(stored, format="png", dpi=_DPI)
    if any("Glyph" in str(each.message) for each in warned):
        note("no font on this machine has all letters of the names; boxes stand for the others")
    return stored.getvalue()


class _Sheet:
    """A sheet that is filled from above."""

    def __init__(self, report: Report) -> None:
        summary, steps = report.summary, steps_of(report)
        self._summary = summary
        self._has_calls = summary.total != NOTHING
        sentences = list(words.sentences(summary))
        if not self._has_calls:
            sentences.insert(0, "No calls.")
        has_chart = self._has_calls and len(steps) > 1
        series = dearest(summary, steps, MOST_SERIES) if has_chart else []
        rows = self._rows() if self._has_calls and summary.by else []
        legend = _legend_lines(series) if summary.by else []
        lines = (
            2.1 + (2.6 if self._has_calls else 0) + len(sentences) + len(legend) + len(rows) * 1.1
        )
        self.height = 1.6 * _MARGIN + lines * _LINE + (_CHART + 0.75 if has_chart else 0)
        self.height += 0.5 if rows else 0
        self.figure = Figure(figsize=(_WIDTH, self.height), facecolor="white")
        self._y = _MARGIN
        self._title(sentences)
        if has_chart:
            self._chart(steps, series)
            self._legend(legend)
        if rows:
            self._table(rows)

    def _title(self, sentences: Sequence[str]) -> None:
        title = f"Cost of {words.title_of(self._summary)}"
        title = _cut(title, _WIDTH - 2 * _MARGIN, size=14, weight="bold")
        self._text(_MARGIN, title, size=14, weight="bold")
        self._y += 1.55 * _LINE
        if self._has_calls:
            total = self._summary.total
            spent = words.cost(total, words.few_digits_for(total)).strip()
            said = spent if not total.cost_is_known else f"USD {spent}"
            self._text(_MARGIN, said, size=20, weight="bold")
            self._y += 1.45 * _LINE
            self._text(
                _MARGIN,
                f"{words.calls(total.calls)}, {words.short(total.input_tokens)} input tokens, "
                f"{words.short(total.output_tokens)} output tokens",
                color=_SOFT,
            )
            self._y += _LINE
        for sentence in sentences:
            self._text(_MARGIN, sentence, color=_SOFT)
            self._y += _LINE

    def _chart(self, steps: Sequence[PeriodAmounts], series: Sequence[Series]) -> None:
        self._y += 0.1
        axes = self.figure.add_axes(
            (
                _LEFT / _WIDTH,
                1 - (self._y + _CHART) / self.height,
                _BESIDE / _WIDTH,
                _CHART / self.height,
            )
        )
        places = range(len(steps))
        width, edge = (1.0, 0.0) if is_dense(steps) else (0.78, 0.5)
        ground = [0.0] * len(steps)
        for place, each in enumerate(series):
            heights = [own.cost_nano_usd / NANO for own in each.amounts]
            axes.bar(
                places, heights, bottom=ground, width=width, color=_colour(place, each),
                edgecolor="white", linewidth=edge,
            )  # fmt: skip
            ground = [a + b for a, b in zip(ground, heights, strict=True)]
        lines = round_numbers(max(ground))
        axes.set_yticks(lines, map(words.mark, lines), color=_SOFT, fontsize=9)
        axes.set_ylim(0, lines[-1])
        apart = -(-len(steps) // 8)
        shown = list(places)[::apart]
        marks = words.step_marks(self._summary.step, [each.start for each in steps])
        axes.set_xticks(shown, marks[::apart], color=_SOFT, fontsize=9)
        axes.tick_params(length=0)
        axes.set_ylabel("USD", color=_SOFT)
        axes.set_xlim(-0.6, len(steps) - 0.4)
        axes.grid(axis="y", color=_RULE, linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right", "left", "bottom"):
            axes.spines[side].set_visible(False)
        self._y += _CHART + 0.6

    def _legend(self, lines: Sequence[Sequence[_Entry]]) -> None:
        for line in lines:
            for entry in line:
                self._box(_LEFT + entry.x, 0.13, entry.colour)
                self._text(_LEFT + entry.x + 0.2, entry.name, size=9)
            self._y += _LINE
        self._y += 0.1

    def _rows(self) -> list[tuple[str, str, str, float, float | None]]:
        """Name, calls, cost, share and trend of each row of the table."""
        summary, digits = self._summary, words.digits_for(self._summary.total)
        whole = summary.total.cost_nano_usd or 1
        is_all = len(summary.groups) <= _MOST_ROWS
        named = summary.groups if is_all else summary.groups[: _MOST_ROWS - 1]
        rest = [group.amounts for group in summary.groups[len(named) :]]
        groups = [
            (" / ".join(names_of(tuple(group.labels.values()))), group.amounts, group.trend)
            for group in named
        ]
        if rest:
            groups.append((f"{len(rest):,} others", sum(rest, NOTHING), None))
        groups.append(("total", summary.total, summary.trend))
        return [
            (
                name,
                f"{own.calls:,}",
                words.cost(own, digits).strip(),
                own.cost_nano_usd / whole,
                trend,
            )
            for name, own, trend in groups
        ]

    def _table(self, rows: Sequence[tuple[str, str, str, float, float | None]]) -> None:
        label = " / ".join(name.removesuffix("_name") for name in self._summary.by)
        self._y += 0.15
        self._text(_MARGIN, label, color=_SOFT)
        for x, name in ((5.0, "calls"), (6.5, "cost, USD"), (_WIDTH - _MARGIN, "trend")):
            self._text(x, name, color=_SOFT, ha="right")
        self._text(6.75, "share", color=_SOFT)
        for number, (name, calls, cost, share, trend) in enumerate(rows, start=1):
            self._y += 1.1 * _LINE
            is_total = number == len(rows)
            weight = "bold" if is_total else "normal"
            self._rule(is_total)
            self._text(_MARGIN, _cut(name, 3.6, weight=weight), weight=weight)
            self._text(5.0, calls, ha="right", weight=weight)
            self._text(6.5, cost, ha="right", weight=weight)
            if not is_total:
                self._box(6.75, 1.2 * share, ON_WHITE[0])
            percent = words.percent(trend)
            colour = _UP if percent > 0 else _DOWN if percent else _TEXT
            said = words.trend(trend)
            self._text(_WIDTH - _MARGIN, said, ha="right", color=colour, weight=weight)

    def _text(self, x: float, text: str, size: float = 10, **style: Any) -> None:
        place = (x / _WIDTH, 1 - self._y / self.height)
        self.figure.text(*place, visible(text), size=size, va="center", **style)

    def _box(self, x: float, width: float, colour: str) -> None:
        corner = (x / _WIDTH, 1 - (self._y + 0.065) / self.height)
        self._add(corner, width, 0.13, colour)

    def _rule(self, is_strong: bool) -> None:
        corner = (_MARGIN / _WIDTH, 1 - (self._y - 0.55 * _LINE) / self.height)
        self._add(corner, _WIDTH - 2 * _MARGIN, (2 if is_strong else 1) / _DPI, _RULE)

    def _add(self, corner: tuple[float, float], width: float, height: float, colour: str) -> None:
        self.figure.add_artist(
            Rectangle(
                corner, width / _WIDTH, height / self.height, color=colour, linewidth=0,
                transform=self.figure.transFigure,
            )
        )  # fmt: skip


class _Entry(NamedTuple):
    """A name in the legend, ``x`` from its left."""

    x: float
    name: str
    colour: str


def _legend_lines(series: Sequence[Series]) -> list[list[_Entry]]:
    """Names with their colours, as many on a line as there is room for."""
    lines: list[list[_Entry]] = []
    x = _BESIDE
    for place, each in enumerate(series):
        name = _cut(each.name, 3.4, size=9)
        width = 0.2 + _width(name, size=9)
        if x + width > _BESIDE:
            lines.append([])
            x = 0.0
        lines[-1].append(_Entry(x, name, _colour(place, each)))
        x += width + 0.25
    return lines


def _colour(place: int, series: Series) -> str:
    return ON_WHITE[place] if series.groups == 1 and place < len(ON_WHITE) else OTHERS_ON_WHITE


def _cut(text: str, room: float, **style: Any) -> str:
    """As much of the text as there is room for."""
    whole = visible(text).replace("\n", " ")
    if _width(whole, **style) <= room:
        return whole
    fits = bisect(range(len(whole)), room, key=lambda n: _width(whole[:n] + "…", **style))
    return whole[: fits - 1] + "…"


def _width(text: str, size: float = 10, **style: Any) -> float:
    """How wide a text is drawn: letters that no font has are boxes of a width of their own."""
    drawn = Figure(dpi=_DPI).text(0, 0, text, size=size, **style)
    return drawn.get_window_extent().width / _DPI
