"""The report as a page in one file, to send on: no script, and nothing from elsewhere."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from importlib.metadata import version
from importlib.resources import files
from xml.etree.ElementTree import Element

from agentmetrics.budget.budgets.budget import BudgetStatus
from agentmetrics.budget.ledger.summary import Group, PeriodAmounts, Summary
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.cli.cost import bars, words
from agentmetrics.cli.cost.markup import document, element
from agentmetrics.cli.cost.palette import (
    MOST_SERIES,
    ON_DARK,
    ON_WHITE,
    OTHERS_ON_DARK,
    OTHERS_ON_WHITE,
)
from agentmetrics.cli.cost.report import Report
from agentmetrics.cli.cost.steps import Series, dearest, steps_of
from agentmetrics.cli.cost.words import NOTHING, SAID_NOTHING


def made(report: Report) -> bytes:
    """The page."""
    summary, style = report.summary, _style()
    policy = b64encode(sha256(style.encode()).digest()).decode()
    title = f"Cost of {words.title_of(summary)}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element(
            "meta",
            http_equiv="Content-Security-Policy",
            content=f"default-src 'none'; style-src 'sha256-{policy}'; base-uri 'none'; "
            "form-action 'none'",
        ),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", style),
    )
    body = element("body", element("main", *_main(report, title)), _footer(report))
    return document(element("html", head, body, lang="en"))


def _style() -> str:
    css = (files("agentmetrics.cli.cost") / "page.css").read_text(encoding="utf-8")
    white, dark = _colours(ON_WHITE, OTHERS_ON_WHITE), _colours(ON_DARK, OTHERS_ON_DARK)
    return f"{css}{white}@media (prefers-color-scheme: dark) {{\n{dark}}}\n"


def _colours(named: Sequence[str], others: str) -> str:
    classes = [*((f"c{place}", colour) for place, colour in enumerate(named)), ("rest", others)]
    return "".join(f".{name} {{ fill: {colour}; }}\n" for name, colour in classes)


def _main(report: Report, title: str) -> Iterator[Element]:
    summary = report.summary
    yield element("h1", title, dir="auto")
    has_calls = summary.total != NOTHING
    yield _numbers(summary) if has_calls else element("p", "No calls.")
    for sentence in words.sentences(summary):
        yield element("p", sentence, class_="soft")
    if has_calls:
        steps = steps_of(report)
        series = dearest(summary, steps, MOST_SERIES)
        word = words.WORDS[summary.step]
        if len(steps) > 1:
            yield element("h2", f"By {word}, USD")
            yield bars.chart(summary, steps, series)
            if summary.by:
                yield element("ul", *map(_legend, range(len(series)), series), class_="legend")
        if summary.by:
            yield element("h2", f"By {words.listed(summary.by)}")
            yield _scrolled(_by_label(summary), f"Cost by {words.listed(summary.by)}")
        if len(steps) > 1:
            names = words.listed([word, *summary.by])
            yield element("h2", f"By {names}, USD")
            yield _scrolled(_by_step(summary, steps, series), f"Cost by {names}")
    if report.budgets:
        yield element("h2", "Budgets now")
        yield _scrolled(_by_budget(report.budgets), "Budgets now")


def _footer(report: Report) -> Element:
    when = datetime.fromtimestamp(report.now, report.summary.since.tzinfo)
    made_by = f"Made by agentmetrics {version('llm-agentmetrics')}"
    return element("footer", f"{made_by} on {when:%Y-%m-%d %H:%M}, {report.summary.timezone}.")


def _numbers(summary: Summary) -> Element:
    total, digits = summary.total, words.few_digits_for(summary.total)
    projected = summary.projected_cost_nano_usd
    tiles = [
        ("Cost, USD", words.cost(total, digits).strip(), ""),
        ("Trend", words.trend(summary.trend), _direction(summary.trend)),
        ("Calls", f"{total.calls:,}", ""),
        ("Input tokens", words.short(total.input_tokens), ""),
        ("Output tokens", words.short(total.output_tokens), ""),
    ]
    if projected is not None:
        said = words.usd(Amounts(cost_nano_usd=projected), digits)
        tiles.insert(2, (f"By {words.WORDS[summary.period]}'s end", said, ""))
    return element(
        "dl",
        *(
            element("div", element("dt", name), element("dd", value, class_=look))
            for name, value, look in tiles
        ),
    )


def _direction(trend: float | None) -> str:
    percent = words.percent(trend)
    return "up" if percent > 0 else "down" if percent else ""


def _legend(place: int, series: Series) -> Element:
    square = element("rect", width="100%", height="100%", class_=bars.colour(place, series))
    swatch = element("svg", square, class_="swatch", aria_hidden="true")
    return element("li", swatch, element("span", series.name, dir="auto"))


def _scrolled(table: Element, name: str) -> Element:
    """A table that is wider than a phone is moved by itself, by keys as well."""
    return element("div", table, class_="scroll", tabindex="0", role="region", aria_label=name)


def _by_step(summary: Summary, steps: Sequence[PeriodAmounts], series: Sequence[Series]) -> Element:
    digits = words.few_digits_for(summary.total)
    shown = series if len(series) > 1 else ()
    names = [element("th", each.name, scope="col", class_="head", dir="auto") for each in shown]
    head = [_column(words.step_heading(summary.step), "day"), *names, _column("total")]
    whens = words.step_names(summary.step, [each.start for each in steps])
    rows = [
        element(
            "tr",
            element("th", name, scope="row", class_="day"),
            *(_amount(own.amounts[number], digits) for own in shown),
            _amount(each.total, digits),
        )
        for number, (name, each) in enumerate(zip(whens, steps, strict=True))
    ]
    foot = [_row_name("total", "day"), *(_amount(own.total, digits) for own in shown),
            _amount(summary.total, digits)]  # fmt: skip
    return _table(head, rows, foot)


def _by_label(summary: Summary) -> Element:
    total, digits = summary.total, words.digits_for(summary.total)
    first, *others = [name.removesuffix("_name") for name in summary.by]
    head = [_column(first, "name"), *(_column(name, "name") for name in others),
            _column("calls", "wide"), _column("input tokens", "wide"),
            _column("output tokens", "wide"), _column("cost, USD"), _column("share", "wide left"),
            _column("trend")]  # fmt: skip
    rows = [_group(group, total, digits) for group in summary.groups]
    foot = [_row_name("total", "name"), *(element("td", class_="name") for _ in others),
            *_counts(total), _amount(total, digits), element("td", class_="wide"),
            element("td", words.trend(summary.trend), class_=_direction(summary.trend))
            ]  # fmt: skip
    return _table(head, rows, foot)


def _group(group: Group, total: Amounts, digits: int) -> Element:
    first, *others = [value or SAID_NOTHING for value in group.labels.values()]
    return element(
        "tr",
        _row_name(first, "name"),
        *(element("td", name, class_="name", dir="auto") for name in others),
        *_counts(group.amounts),
        _amount(group.amounts, digits),
        element("td", _share(group.amounts.cost_nano_usd, total.cost_nano_usd), class_="wide"),
        element("td", words.trend(group.trend), class_=_direction(group.trend)),
    )


def _counts(amounts: Amounts) -> Iterator[Element]:
    for text in (
        f"{amounts.calls:,}", words.short(amounts.input_tokens), words.short(amounts.output_tokens)
    ):  # fmt: skip
        yield element("td", text, class_="wide")


def _share(part: float, whole: float) -> Element:
    share = f"{100 * part / whole:.1f}%" if whole else "0%"
    bar = element("rect", width=share, height="100%", class_="c0")
    return element("svg", element("title", share), bar, class_="share", role="img")


def _by_budget(budgets: Sequence[BudgetStatus]) -> Element:
    head = [_column("budget", "name"), _column("scope", "name"), _column("period"),
            _column("limit, USD"), _column("spent, USD"), _column("share", "wide left"),
            _column("%")]  # fmt: skip
    rows = []
    for status in budgets:
        limit, spent = words.limit_and_spent(status)
        rows.append(
            element(
                "tr",
                _row_name(status.budget, "name"),
                element("td", words.scope(status), class_="name", dir="auto"),
                element("td", status.period),
                element("td", limit),
                element("td", spent),
                element("td", _share(min(status.percent, 100), 100), class_="wide"),
                element("td", f"{status.percent:,.0f}"),
            )
        )
    return _table(head, rows, ())


def _table(head: Sequence[Element], rows: Sequence[Element], foot: Sequence[Element]) -> Element:
    return element(
        "table",
        element("thead", element("tr", *head)),
        element("tbody", *rows),
        element("tfoot", element("tr", *foot)) if foot else None,
    )


def _column(name: str, look: str = "") -> Element:
    return element("th", name, scope="col", class_=look)


def _row_name(name: str, look: str) -> Element:
    return element("th", name, scope="row", class_=look, dir="auto")


def _amount(amounts: Amounts, digits: int) -> Element:
    return element("td", words.cell(amounts, digits).strip())
