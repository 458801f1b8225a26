"""Debian's Chromium, driven by Playwright, and axe-core, which looks for what some cannot use."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests.services.process import required

AXE_VERSION = "4.14.1"
AXE = Path(__file__).parents[2] / "build" / f"axe-core-{AXE_VERSION}"
_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; each ``new_context`` is one that has seen nothing yet."""
    path = required("chromium", "chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def violations(page: Page) -> list[str]:
    """What axe-core finds on a page as it is now, a line each."""
    script = _axe().read_text("utf-8")
    page.evaluate(f"() => {{ {script}; }}")  # as an extension's: the page's policy does not apply
    found: dict[str, Any] = page.evaluate("() => axe.run(document)")
    return [
        f"{each['id']}: {each['help']}: {node['html'][:200]}: {node['failureSummary']}"
        for each in found["violations"]
        for node in each["nodes"]
    ]


def _axe() -> Path:
    """The script; npm brings it once, into ``build/``."""
    if not AXE.exists():
        AXE.parent.mkdir(exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=AXE.parent))
        npm, package = required("npm", "nodejs npm"), f"axe-core@{AXE_VERSION}"
        options = ["--no-audit", "--no-fund", "--no-package-lock"]
        command = [npm, "install", *options, "--prefix", str(unfinished), package]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        try:
            unfinished.rename(AXE)
        except OSError:  # another worker was faster
            shutil.rmtree(unfinished)
    return AXE / "node_modules" / "axe-core" / "axe.min.js"
