"""Draws docs/images/top.png: ``python docs/top_picture.py URL [SECONDS]``, of a demo that runs.

Needs Debian's chromium and pngquant. Look at it before you commit it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from agentmetrics.cli.top.feeds import Feeds
from agentmetrics.cli.top.glyphs import UNICODE
from agentmetrics.cli.top.screen import Top
from agentmetrics.cli.top.sources import source_of

PICTURE = Path(__file__).parent / "images" / "top.png"
SIZE = (116, 24)
PIXELS = (1440, 680)


async def watched(url: str, seconds: float) -> str:
    """The screen as SVG, after somebody has watched for so long."""
    feeds = Feeds([source_of(url)], interval=2.0)
    top = Top(feeds, UNICODE)
    async with top.run_test(size=SIZE) as pilot:
        await pilot.pause(seconds)
        drawn = top.export_screenshot(title="agentmetrics top")
    feeds.close()
    return drawn


def main() -> None:
    url, *more = sys.argv[1:]
    drawn = asyncio.run(watched(url, float(more[0]) if more else 70.0))
    with TemporaryDirectory() as directory:
        file = Path(directory) / "top.svg"
        file.write_text(drawn)
        size = ",".join(map(str, PIXELS))
        chromium = ["chromium", "--headless", "--no-sandbox", f"--window-size={size}"]
        options = ["--hide-scrollbars", "--default-background-color=00000000"]
        shot = f"--screenshot={PICTURE}"
        subprocess.run([*chromium, *options, shot, file.as_uri()], check=True, timeout=60)
    subprocess.run(
        ["pngquant", "--force", "--speed", "1", "--output", PICTURE, "64", PICTURE], check=True
    )


if __name__ == "__main__":
    main()
