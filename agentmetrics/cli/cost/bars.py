"""The chart of a page: a bar for each step of time, in the parts of its groups.

All lengths are shares of the room there is, so that one drawing fits a desk and a phone, with
letters of the same size.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from xml.etree.ElementTree import Element

from agentmetrics.budget.ledger.summary import PeriodAmounts, Summary
from agentmetrics.budget.ledger.tally import NANO
from agentmetrics.cli.cost import words
from agentmetrics.cli.cost.markup import element
from agentmetrics.cli.cost.palette import ON_WHITE
from agentmetrics.cli.cost.steps import Series, is_dense

_TOP, _BOTTOM = 6.0, 90.0
"""Where the highest line and the ground are, in percent from above: below it are the dates."""
_MOST_DATES = 5
_GAP = 0.22


def chart(summary: Summary, steps: Sequence[PeriodAmounts], series: Sequence[Series]) -> Element:
    """The drawing, for the ones who see it; the table below has the same as numbers."""
    highest = max((each.total.cost_nano_usd for each in steps), default=0)
    lines = round_numbers(highest / NANO)
    unit = (_BOTTOM - _TOP) / (lines[-1] * NANO)
    word = words.WORDS[summary.step]
    heights = [_percent(_BOTTOM - value * NANO * unit) for value in lines]
    scale = [element("text", words.mark(value), x="100%", y=y, dx="-8", dy="4")
             for value, y in zip(lines, heights, strict=True)]  # fmt: skip
    return element(
        "div",
        element("svg", *scale, class_="scale", aria_hidden="true"),
        element(
            "svg",
            *(element("line", x1="0", x2="100%", y1=y, y2=y, class_="line") for y in heights),
            *_bars(summary, steps, series, unit),
            *_dates(summary, steps),
            class_="plot dense" if is_dense(steps) else "plot",
            role="img",
            aria_label=f"Cost by {word} in USD; the table at the end has the numbers",
        ),
        class_="chart",
    )


def round_numbers(highest: float) -> list[float]:
    """Round numbers from 0 up to one that is not below ``highest``: at most six of them."""
    if highest <= 0:
        return [0.0, 1.0]
    size = 10.0 ** math.floor(math.log10(highest / 4))
    step = next(size * n for n in (1, 2, 2.5, 5, 10) if size * n * 5 >= highest)
    return [step * n for n in range(math.ceil(highest / step - 1e-9) + 1)]


def _bars(
    summary: Summary, steps: Sequence[PeriodAmounts], series: Sequence[Series], unit: float
) -> Iterator[Element]:
    slot = 100 / max(len(steps), 1)
    gap = 0 if is_dense(steps) else _GAP
    digits = words.digits_for(summary.total)
    for number, name in enumerate(words.step_names(summary.step, [each.start for each in steps])):
        ground = _BOTTOM
        for place, own in enumerate(series):
            amounts = own.amounts[number]
            height = amounts.cost_nano_usd * unit
            if not height:
                continue
            ground -= height
            said = f"{name}: {own.name}, USD "
            yield element(
                "rect",
                element("title", said + words.cost(amounts, digits).strip()),
                x=_percent(slot * (number + gap / 2)),
                width=_percent(slot * (1 - gap)),
                y=_percent(ground),
                height=_percent(height),
                class_=colour(place, own),
            )


def _dates(summary: Summary, steps: Sequence[PeriodAmounts]) -> Iterator[Element]:
    slot = 100 / max(len(steps), 1)
    marks = words.step_marks(summary.step, [each.start for each in steps])
    for number in range(0, len(steps), math.ceil(len(steps) / _MOST_DATES) or 1):
        x = _percent(slot * (number + 0.5))
        yield element("text", marks[number], x=x, y="99%", class_="date")


def colour(place: int, series: Series) -> str:
    """The class of a series; the last has no colour of its own, whether it is one or several."""
    return f"c{place}" if series.groups == 1 and place < len(ON_WHITE) else "rest"


def _percent(share: float) -> str:
    return f"{share:.3f}".rstrip("0").rstrip(".") + "%"
