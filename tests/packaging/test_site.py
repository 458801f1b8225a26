"""The docs as a site: whole, asking no other host for anything, and refused with a broken link."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT

LOADED_BY = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
"""The attributes that a browser fetches by itself."""


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)],
        cwd=root,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("site")
    done = build(ROOT, directory)
    assert done.returncode == 0, done.stderr
    return directory


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The repository with docs/ of its own."""
    root = tmp_path / "repository"
    root.mkdir()
    for entry in ROOT.iterdir():
        if entry.name != "docs":
            (root / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "docs", root / "docs")
    return root


class Loads(HTMLParser):
    """What a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        url = dict(attrs).get(LOADED_BY.get(tag, ""))
        if url:
            self.found.append(url)


def html_of(page: Path) -> Path:
    """Where a page of docs/ is in the site; a README is the index of its directory."""
    return page.with_name("index.html") if page.stem == "README" else page.with_suffix(".html")


def test_every_page_of_the_docs_is_there(site: Path):
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]
    assert len(pages) > 10
    assert [page for page in pages if not (site / html_of(page)).exists()] == []
    assert (site / "index.html").exists()  # README.md


def test_nothing_else_of_docs_is_there(site: Path):
    assert [p for p in site.rglob("*") if p.suffix in (".py", ".pyc", ".md")] == []


def test_a_page_asks_no_other_host_for_anything(site: Path):
    for page in site.rglob("*.html"):
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert [url for url in loads.found if url.startswith(("http:", "https:", "//"))] == []


@pytest.mark.parametrize(
    ("link", "complaint"),
    [
        ("nowhere.md", "there is no docs/nowhere.md"),
        ("../agentmetrics/nowhere.py", "there is no agentmetrics/nowhere.py"),
        ("design.md#nothing-like-it", "nothing-like-it"),
    ],
)
def test_a_broken_link_fails_the_build(copy: Path, tmp_path: Path, link, complaint):
    page = copy / "docs" / "statsd.md"
    page.write_text(f"{page.read_text(encoding='utf-8')}\nSee [there]({link}).\n", encoding="utf-8")
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    assert complaint in done.stderr


def test_a_page_that_the_menu_leaves_out_fails_the_build(copy: Path, tmp_path: Path):
    (copy / "docs" / "forgotten.md").write_text("# Forgotten\n", encoding="utf-8")
    done = build(copy, tmp_path / "site")
    assert done.returncode != 0
    assert "forgotten.md" in done.stderr
