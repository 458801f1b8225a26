"""The report that ``agentmetrics cost --html`` writes, in a real browser."""

from __future__ import annotations

import html
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agentmetrics import Ledger
from agentmetrics.cli.app import app
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
