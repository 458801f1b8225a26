"""``agentmetrics cost --html`` and ``--png``: reports to send on."""

from __future__ import annotations

import re
import struct
import sys
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from PIL import Image

from agentmetrics.budget.ledger.database import Database
from agentmetrics.budget.ledger.tally import Amounts
from agentmetrics.cli.cost import bars, palette, picture, words
from agentmetrics.cli.cost.steps import Series
from tests.unit.books import ZONE, Books
from tests.unit.test_cli import run

pytestmark = pytest.mark.usefixtures("no_settings")

ODD = (
    "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "&lt;b&gt;", "</style><b>",
    "日本語", "עברית", r"$\frac{1}$", "a'b",
)  # fmt: skip


class Page(HTMLParser):
    """A page as a browser takes it apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.style = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["style"]:
            self.style += data
        elif data.strip():
            self.texts.append(data.strip())

    def rects(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == "rect" and "x" in attributes]


@pytest.fixture
def odd(books: Books) -> Books:
    """Two days of names that are not what they seem."""
    books.spend("2025-11-10 10:00", "planner", 1000)
    for day in (18, 19):
        for number, name in enumerate(ODD):
            books.call(f"2025-11-{day} {number + 1:02}:00", name, 400_000 * (number + 1))
    books.ledger.flush()
    books.clock.set("2025-11-19 14:30", ZONE)
    return books


def page_of(books: Books, path: Path, *arguments: str) -> Page:
    done = books.cost("--html", str(path), *arguments, COLUMNS="300")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"Wrote {path}.\n"
    return Page(path.read_text(encoding="utf-8"))


class TestThePage:
    def test_the_page_shows_every_name_as_text(self, odd, tmp_path):
        page = page_of(odd, tmp_path / "cost.html", "--since", "yesterday")
        assert set(ODD) <= set(page.texts)
        assert not {tag for tag, _ in page.tags} & {"script", "img", "b", "link", "iframe", "a"}

    def test_the_page_asks_nobody_for_anything(self, odd, tmp_path):
        page = page_of(odd, tmp_path / "cost.html")
        names = {name for _, attributes in page.tags for name in attributes}
        assert not names & {"src", "href", "srcset", "style", "action"}
        assert not [name for name in names if name.startswith("on")]
        assert "url(" not in page.style
        assert "@import" not in page.style
        (policy,) = (
            attributes["content"]
            for _, attributes in page.tags
            if attributes.get("http-equiv") == "Content-Security-Policy"
        )
        digest = b64encode(sha256(page.style.encode()).digest()).decode()
        assert policy is not None
        assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}';")

    def test_the_page_says_what_the_table_says(self, odd, tmp_path):
        page = page_of(odd, tmp_path / "cost.html", "--since", "yesterday")
        said = " ".join(page.texts)
        total = 2 * sum(1.04 * (number + 1) for number in range(len(ODD)))
        assert f"{total:,.4f}" in said
        assert "Cost of Tue 18 Nov 2025 to Wed 19 Nov 2025, Europe/Berlin" in page.texts
        assert "Previous 2 days: no calls." in page.texts
        assert "2 others" in page.texts

    def test_the_page_has_a_bar_for_each_day_as_long_as_its_cost(self, odd, tmp_path):
        odd.spend("2025-11-19 10:00", "planner", 4_000_000)
        odd.clock.set("2025-11-19 14:30", ZONE)
        rects = page_of(odd, tmp_path / "cost.html", "--since", "2d", "--by", "provider").rects()
        first, last = (float((each["height"] or "").rstrip("%")) for each in rects)
        day = sum(1.04 * (number + 1) for number in range(len(ODD)))
        assert last / first == pytest.approx((day + 10.4) / day, rel=1e-3)

    def test_the_page_of_a_month_has_its_days(self, odd, tmp_path):
        page = page_of(odd, tmp_path / "cost.html", "--this-month", "--agent", "日本語")
        assert len(page.rects()) == 2
        assert "Cost of November 2025, Europe/Berlin, agent 日本語" in page.texts
        assert {"Mon 10 Nov", "Wed 19 Nov"} <= set(page.texts)
        assert "Thu 20 Nov" not in page.texts

    def test_the_page_of_one_day_has_no_chart(self, odd, tmp_path):
        assert page_of(odd, tmp_path / "cost.html", "--since", "today").rects() == []

    def test_the_page_of_nothing_says_so(self, odd, tmp_path):
        page = page_of(odd, tmp_path / "c.html", "--since", "2024-01-01", "--until", "2024-01-02")
        assert "No calls." in page.texts

    def test_the_page_has_the_budgets(self, odd, tmp_path):
        path = tmp_path / "budgets.toml"
        path.write_text('[budgets."<i>"]\nlimit_usd = 100')
        done = odd.cost(f"--html={tmp_path / 'c.html'}", AGENTMETRICS_BUDGETS_FILE=str(path))
        assert done.exit_code == 0
        page = Page((tmp_path / "c.html").read_text(encoding="utf-8"))
        assert {"Budgets now", "<i>", "100.00"} <= set(page.texts)

    def test_a_name_that_somebody_else_wrote_is_no_command_on_the_page(self, odd, tmp_path):
        with Database(odd.url)._engine.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE agentmetrics_ledger SET agent_name = char(27) || char(8238) || char(1) "
                "|| '<i>' WHERE agent_name = '日本語'"
            )
        page = page_of(odd, tmp_path / "cost.html")
        assert r"\x1b\u202e\x01<i>" in page.texts

    def test_a_page_can_be_beside_a_table_for_programs(self, odd, tmp_path):
        done = odd.cost("--csv", "--html", str(tmp_path / "cost.html"))
        assert done.stdout.startswith("start,end,")
        assert (tmp_path / "cost.html").exists()

    @pytest.mark.parametrize("where", ["no/cost.html", ""])
    def test_a_page_that_cannot_be_written_is_said(self, odd, tmp_path, where):
        path = tmp_path / where
        done = odd.cost("--html", str(path))
        assert (done.exit_code, done.stdout) == (1, "")
        assert done.stderr.startswith(f"agentmetrics: cannot write to '{path}': ")


class TestManyAndHuge:
    """Nothing of a report is blank, or runs into what is beside it."""

    def test_the_bars_of_many_days_are_not_covered_by_their_edges(self, books, tmp_path):
        books.spend("2025-01-01 12:00", "planner", 1_000_000)
        books.spend("2025-11-19 12:00", "planner", 1_000_000)
        asked = ("--by", "day", "--since", "2025-01-01")
        page = page_of(books, tmp_path / "cost.html", *asked)
        assert ("svg", "plot dense") in [(tag, each.get("class")) for tag, each in page.tags]
        assert ".dense rect { stroke: none; }" in page.style
        few = page_of(books, tmp_path / "few.html", "--since", "7d")
        assert ("svg", "plot") in [(tag, each.get("class")) for tag, each in few.tags]

    def test_the_bars_of_many_days_are_seen_in_the_picture(self, books, tmp_path):
        for day in range(1, 29):
            for month in range(1, 11):
                books.call(f"2025-{month:02}-{day:02} 12:00", "planner", 1_000_000)
        books.spend("2025-11-01 12:00", "planner", 1_000_000)
        path = tmp_path / "cost.png"
        assert books.cost("--png", str(path), "--by", "day", "--since=2025-01-01").exit_code == 0
        with Image.open(path) as picture:
            shown = picture.convert("RGB").getcolors(1 << 24) or []
        (blue,) = (count for count, colour in shown if colour == (0x1F, 0x5F, 0xBF))
        assert blue > 100_000

    def test_every_bar_has_a_colour_however_many_agents_there_are(self, books, tmp_path):
        for number in range(8):
            books.spend("2025-11-18 12:00", f"agent-{number}", 1000)
            books.spend("2025-11-19 12:00", f"agent-{number}", 1000)
            page = page_of(books, tmp_path / "cost.html", "--since", "2025-11-18")
            classes = {rect["class"] for rect in page.rects()}
            assert len(classes) == min(number, 6) + 1
            assert all(page.style.count(f".{each} {{ fill: ") == 2 for each in classes)

    def test_the_picture_looks_the_same_whatever_else_matplotlib_is_told(self, odd, tmp_path):
        plain, styled = tmp_path / "plain.png", tmp_path / "styled.png"
        assert odd.cost("--png", str(plain)).exit_code == 0
        own: Any = {"axes.facecolor": "red", "font.size": 30, "text.usetex": True}
        with mpl.rc_context(own):
            assert odd.cost("--png", str(styled)).exit_code == 0
        assert styled.read_bytes() == plain.read_bytes()

    def test_a_scale_of_millions_is_in_millions(self, books, tmp_path):
        for day, usd in ((18, 2e6), (19, 1e7)):
            books.clock.set(f"2025-11-{day} 12:00", ZONE)
            books.ledger.record_external(usd, provider="openai")
        books.ledger.flush()
        texts = page_of(books, tmp_path / "cost.html").texts
        assert {"2 M", "4 M", "6 M", "8 M", "10 M"} <= set(texts)

    @pytest.mark.filterwarnings("ignore:Glyph")
    def test_names_in_the_legend_of_the_picture_do_not_meet(self):
        names = [*ODD, "W" * 60, "i" * 60, "\U0001f916" * 12]
        amounts = Amounts(calls=1, cost_nano_usd=1)
        with mpl.rc_context({"text.parse_math": False}):
            lines = picture._legend_lines([Series((name,), amounts, (amounts,)) for name in names])
            for line in lines:
                ends = [entry.x + 0.2 + picture._width(entry.name, size=9) for entry in line]
                assert all(end + 0.2 < after.x for end, after in zip(ends, line[1:], strict=False))
                assert max(ends) <= picture._BESIDE


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (999_949, "999,949"), (999_950, "1.0 M"), (1_234_567, "1.2 M"), (999_949_999, "999.9 M"),
        (999_950_000, "1.0 G"), (5 * 10**12, "5.0 T"),
    ],
)  # fmt: skip
def test_a_count_is_said_in_a_few_characters(count, said):
    assert words.short(count) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"), (0.6000000000000001, "0.6"), (12.5, "12.5"), (0.00002, "0.00002"),
        (2e-10, "2e-10"),
        (750_000, "750,000"), (7_500_000.0, "7.5 M"), (2e9, "2 G"),
    ],
)  # fmt: skip
def test_a_mark_of_a_scale_has_an_exponent_only_where_it_is_tiny(value, said):
    assert words.mark(value) == said


class TestTheScale:
    @pytest.mark.parametrize(
        ("highest", "lines"),
        [
            (0, [0, 1]),
            (1, [0, 0.2, 0.4, 0.6, 0.8, 1]),
            (42.9, [0, 10, 20, 30, 40, 50]),
            (99, [0, 20, 40, 60, 80, 100]),
            (0.0007, [0, 0.0002, 0.0004, 0.0006, 0.0008]),
            (11, [0, 2.5, 5, 7.5, 10, 12.5]),
        ],
    )
    def test_the_scale_has_a_few_round_numbers(self, highest, lines):
        assert bars.round_numbers(highest) == pytest.approx(lines)

    @pytest.mark.parametrize("exponent", range(-9, 10))
    def test_the_scale_of_any_cost_reaches_it(self, exponent):
        for digit in (1, 1.0001, 2.2, 3, 4.99, 5, 7.7, 9.9999):
            highest = digit * 10.0**exponent
            found = bars.round_numbers(highest)
            assert 3 <= len(found) <= 6
            assert found[-2] < highest <= found[-1] * (1 + 1e-9)


def luminance(colour: str) -> float:
    """WCAG 2.2, relative luminance."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("ground", "colours"),
    [
        ("#ffffff", (*palette.ON_WHITE, palette.OTHERS_ON_WHITE)),
        ("#14161a", (*palette.ON_DARK, palette.OTHERS_ON_DARK)),
    ],
)
def test_every_colour_stands_out_from_its_ground(ground, colours):
    for colour in colours:
        dark, light = sorted((luminance(ground), luminance(colour)))
        assert (light + 0.05) / (dark + 0.05) >= 3, colour


class TestThePicture:
    def test_the_picture_is_one_of_the_report(self, odd, tmp_path):
        path = tmp_path / "cost.png"
        done = odd.cost("--png", str(path), "--since", "yesterday", COLUMNS="300")
        assert (done.exit_code, done.stdout) == (0, f"Wrote {path}.\n")
        stored = path.read_bytes()
        assert stored.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", stored[16:24])
        assert width == 1440
        assert 800 < height < 3000
        assert done.stderr == "" or re.fullmatch("note: no font on this machine .*\n", done.stderr)

    def test_a_picture_without_its_library_says_what_to_install(self, odd, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        done = odd.cost("--png", str(tmp_path / "cost.png"))
        assert (done.exit_code, done.stdout) == (1, "")
        assert "'matplotlib'; install it with: pip install 'llm-agentmetrics[png]'" in done.stderr
        assert not (tmp_path / "cost.png").exists()

    def test_a_picture_without_a_ledger_is_none(self, tmp_path):
        done = run("cost", "--png", str(tmp_path / "cost.png"))
        assert done.exit_code == 2
        assert not (tmp_path / "cost.png").exists()
