"""Draws docs/images/live-*.png: ``python docs/live_pictures.py URL [SECONDS]``, of the live page.

It looks at a demo for ten minutes, or so many seconds, so that charts and strips are full. Needs
Debian's chromium and pngquant. Look at the pictures before you commit them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
WIDE, PHONE = 1360, 400
STRIPS = 6
"""Agents whose last runs have a picture of their own."""
SCREENS = 3
"""Side by side, as which the page on a phone is shown: it is long."""
BETWEEN = 40

SECTIONS = """() => [
  ...[...document.querySelectorAll('main > section, .chart, .runs > li')]
    .map((each) => Math.round(each.getBoundingClientRect().top) - 8),
  innerHeight]"""


@contextmanager
def shown(
    browser: Browser, url: str, width: int, scheme: Literal["light", "dark"]
) -> Iterator[Page]:
    """The page with its charts and strips, while agents run."""
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.goto(url)
    page.locator("#runs .run").nth(20).wait_for()
    page.locator("#legend button").nth(3).wait_for()
    when_busy(page)
    yield page
    context.close()


def when_busy(page: Page) -> None:
    """Return once several agents run, with a screen that is as high as the page is then."""
    page.locator("#running li").nth(1).wait_for(timeout=120_000)
    high = page.evaluate("() => document.documentElement.scrollHeight")
    page.set_viewport_size({"width": page.evaluate("() => innerWidth"), "height": high})


def write(name: str, taken: bytes) -> None:
    file = str(IMAGES / f"{name}.png")
    command = ["pngquant", "--force", "--speed", "1", "--output", file, "128", "-"]
    subprocess.run(command, input=taken, check=True)


def until_last_runs(page: Page) -> bytes:
    """What runs now, the last minute and the charts: for who has not much room."""
    section = page.locator("#runs-section").bounding_box()
    assert section is not None
    return page.screenshot(clip={"x": 0, "y": 0, "width": WIDE, "height": section["y"] - 8})


def last_runs(page: Page) -> bytes:
    """The strips of a few agents, with a run that stands out pointed at."""
    strips = page.locator("#runs > li")
    strips.nth(1).locator(".run.odd:not([data-status=error])").first.hover()
    section = page.locator("#runs-section").bounding_box()
    after = strips.nth(STRIPS).bounding_box()
    assert section is not None
    assert after is not None
    return page.screenshot(
        clip={
            "x": section["x"] - 16,
            "y": section["y"] - 12,
            "width": section["width"] + 32,
            "height": after["y"] - section["y"] + 12,
        }
    )


def side_by_side(browser: Browser, page: Page) -> bytes:
    """A long page in columns, each of which begins where something does."""
    *tops, total = page.evaluate(SECTIONS)
    starts = [
        min([0, *tops], key=lambda top: abs(top - number * total / SCREENS))
        for number in range(SCREENS)
    ]
    parts = [*zip(starts, [*starts[1:], total], strict=True)]
    taken = b64encode(page.screenshot()).decode()
    columns = "".join(
        f'<div style="width:{PHONE}px;height:{end - start}px;background:url(data:image/png;base64,'
        f'{taken}) 0 -{start}px"></div>'
        for start, end in parts
    )
    wide = SCREENS * PHONE + (SCREENS - 1) * BETWEEN
    high = max(end - start for start, end in parts)
    sheet = browser.new_page(viewport={"width": wide, "height": high})
    sheet.set_content(f'<body style="margin:0;display:flex;gap:{BETWEEN}px">{columns}')
    return sheet.screenshot(omit_background=True)


def main() -> None:
    url, *more = sys.argv[1:]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        with shown(browser, url, WIDE, "light") as page:
            page.wait_for_timeout(1000 * float(more[0] if more else 600))
            when_busy(page)
            write("live-light", page.screenshot())
            write("live-now", until_last_runs(page))
            write("live-runs", last_runs(page))
        with shown(browser, url, WIDE, "dark") as page:
            write("live-dark", page.screenshot())
        with shown(browser, url, PHONE, "light") as page:
            write("live-phone", side_by_side(browser, page))


if __name__ == "__main__":
    main()
