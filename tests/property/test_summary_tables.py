"""Tables of any names: nothing is lost, nothing is obeyed, and everything is in its column."""

from __future__ import annotations

from html.parser import HTMLParser

from hypothesis import example, given
from hypothesis import strategies as st

from agentmetrics.recording.unseen import visible
from agentmetrics.summary.html import page
from agentmetrics.summary.table import Column, Table
from agentmetrics.summary.text import NAME_WIDTH, cell_width, laid

names = st.lists(st.text(max_size=40), min_size=1, max_size=5)
widths = st.integers(NAME_WIDTH + 2 + len("1,234,567"), 120)


def table(of: list[str]) -> Table:
    numbers = ["1,234,567"] * len(of)
    columns = [
        Column("agent", of, "total", is_name=True),
        Column("calls", numbers, numbers[0]),
        Column("cost\nUSD", numbers, numbers[0]),
    ]
    return Table("Calls", "agents", columns, ("cost\nUSD",))


@given(names, widths)
@example(["\xa0"], 27)
def test_a_table_fits_and_has_every_character_of_its_names(of: list[str], width: int) -> None:
    found = laid(table(of), width)
    assert all(cell_width(line) <= width for line in found.lines())
    shown = "".join(line.split("  1,234,567")[0].strip(" ") for line in found.rows)
    said = "".join(visible(name).replace("\n", "\\x0a") for name in of)
    assert shown.replace(" ", "") == "".join(said.split(" "))


@given(names, widths)
def test_numbers_end_in_one_cell_whatever_the_names_are(of: list[str], width: int) -> None:
    found = laid(table(of), width)
    ends = {cell_width(line) for line in found.rows if "1,234,567" in line}
    assert ends == {found.width}


@given(names)
def test_a_page_has_the_names_as_text_alone(of: list[str]) -> None:
    class Reader(HTMLParser):
        elements: set[str] = set()  # noqa: RUF012
        texts = ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.elements.add(tag)

        def handle_data(self, data: str) -> None:
            self.texts += data

    reader = Reader()
    reader.feed(page([table(of)], [], limit=20))
    reader.close()
    rows = {"div", "table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td", "br"}
    assert reader.elements <= rows
    assert all(visible(name.replace("\n", " ")) in reader.texts for name in of)
