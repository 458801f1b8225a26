"""Hooks of MkDocs: pages that lie outside of docs/, and links to what is no page.

A page is written for readers of the repository. README.md and its like become pages of the site,
and a link to another file leads to that file in the repository; one to a file that is not there
fails the build.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/RESULTS.md": "benchmark-results.md",
}
"""The pages of files that lie outside of docs/."""
_SOURCES = {page: source for source, page in PAGES.items()}

_RELATIVE_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#/])([^)\s#]+)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie outside of docs/."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let each relative link lead to its page or, where it has none, to the repository."""
    place = page.file.src_uri
    source = _SOURCES.get(place, f"docs/{place}")

    def resolved(link: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(source).parent / link[1])
        if not (ROOT / target).exists():
            raise PluginError(f"{source} links to {link[1]}, and there is no {target}")
        wanted = PAGES.get(target, target.removeprefix("docs/"))
        found = files.get_file_from_path(wanted) if target.startswith("docs/") else None
        if target in PAGES or (found and found.inclusion.is_included()):
            return os.path.relpath(wanted, PurePosixPath(place).parent)
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"{REPOSITORY['Source']}/{kind}/main/{target}"

    parts = _CODE.split(markdown)
    parts[::2] = [_RELATIVE_LINK.sub(resolved, text) for text in parts[::2]]
    return "".join(parts)
