"""The report that ``agentmetrics cost --html`` writes, in a real browser."""

from __future__ import annotations

import html
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentmetrics import Ledger, Usage
from agentmetrics.cli.app import app
from tests.services.browser import chromium, violations
from tests.services.process import required

ODD = ("<script>document.title = 'taken'</script>", "<img src=x onerror=alert(1)>", "日本語")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A report of agents whose names are markup."""
    url, path = f"sqlite:///{tmp_path / 'spend.db'}", tmp_path / "cost.html"
    with Ledger(url) as ledger:
        for name in ODD:
            ledger.record_external(1.5, provider="openai", agent_name=name)
    done = CliRunner().invoke(app, ["cost", "--url", url, "--html", str(path)])
    assert done.exit_code == 0, done.stderr
    return path


def test_a_browser_shows_the_report_and_blocks_nothing_of_it(page):
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    done = subprocess.run(
        [required("chromium", "chromium"), *options, "--v=0", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []  # such as of a style that the page's own policy forbids
    assert "<title>Cost of " in done.stdout
    for name in ODD:
        assert f">{html.escape(name, quote=False)}</th>" in done.stdout
    assert "<script" not in done.stdout
    assert "<img" not in done.stdout


def test_nothing_on_a_page_of_huge_numbers_runs_into_what_is_beside_it(tmp_path: Path) -> None:
    url, path = f"sqlite:///{tmp_path / 'spend.db'}", tmp_path / "cost.html"
    with Ledger(url) as ledger:
        usage = Usage(9 * 10**14, 10**13)
        for cost in (123_456_789.5, 0.001):
            ledger.record_external(cost, provider="openai", calls=10**9, usage=usage)
    assert CliRunner().invoke(app, ["cost", "--url", url, "--html", str(path)]).exit_code == 0
    too_wide = "tiles => tiles.filter(t => t.scrollWidth > t.clientWidth).map(t => t.innerText)"
    with chromium() as browser, browser.new_page() as page:
        page.goto(path.as_uri())
        assert violations(page) == []
        tiles = page.locator("dl div")
        assert tiles.count() >= 5
        for width in (360, 700, 1000):
            page.set_viewport_size({"width": width, "height": 800})
            assert tiles.evaluate_all(too_wide) == []
            assert page.evaluate("document.documentElement.scrollWidth") <= width
