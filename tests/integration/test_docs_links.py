"""The docs hang together: llms.txt lists every page, and every link leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.pages import DOCS, ROOT

INDEX = DOCS / "llms.txt"
PAGES = sorted(DOCS.glob("*.md"))
LINKED = [*PAGES, INDEX, ROOT / "README.md", ROOT / "examples" / "README.md"]
_CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """Where the links of a page lead, those in code left out."""
    return re.findall(r"\[[^\]]*\]\(([^)\s]+)\)", _CODE.sub("", text))


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as they are made from Markdown."""
    headings = re.findall(r"^#+ (.*)$", _CODE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", LINKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(path: Path) -> None:
    for link in links(path.read_text()):
        if link.startswith(("https://", "http://")):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors(target), link


def test_llms_txt_lists_every_page_once() -> None:
    listed = [link for link in links(INDEX.read_text()) if "/" not in link]
    assert sorted(listed) == [page.name for page in PAGES]


def test_llms_txt_has_the_shape_of_the_convention() -> None:
    # https://llmstxt.org: a title, a summary as a quotation, details without headings, then
    # sections that are lists of links, each with a note
    head, *sections = re.split(r"^## ", INDEX.read_text(), flags=re.MULTILINE)
    title, summary, details = re.split(r"\n\n", head.strip(), maxsplit=2)
    assert title == "# agentmetrics"
    assert re.fullmatch(r"> [^\n]+", summary)
    assert "#" not in details
    assert len(sections) > 3
    for section in sections:
        name, _, entries = section.partition("\n\n")
        assert re.fullmatch(r"[A-Z][\w ]+", name)
        for entry in entries.strip().splitlines():
            assert re.fullmatch(r"- \[[^\]]+\]\([^)]+\): \S.*[^.]", entry), entry
    assert sections[-1].startswith("Optional\n")
