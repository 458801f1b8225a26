"""From the arguments of ``top`` to what is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TextIO

from agentmetrics.cli.console import fail, require
from agentmetrics.cli.top import fields, once
from agentmetrics.cli.top.feeds import Feeds
from agentmetrics.cli.top.glyphs import glyphs_of_output
from agentmetrics.cli.top.sources import Source, source_of
from agentmetrics.live.watch import WINDOW_SECONDS


@dataclass(frozen=True)
class Looks:
    """How somebody wants to look; ``window`` and ``interval`` are in seconds."""

    window: float | None
    order: str
    reverse: bool
    text: str
    interval: float


def run(named: Sequence[str], looks: Looks, is_once: bool, as_json: bool) -> None:
    """Show what these sources say: on a terminal until somebody quits, else once."""
    if looks.order not in fields.ORDERS:
        fail(f"--sort {looks.order!r} is no column: use one of {', '.join(fields.ORDERS)}", code=2)
    sources = _sources(named)
    if is_once or as_json or not _can_draw():
        window = looks.window or once.WINDOW_SECONDS
        once.run(sources, window, looks.order, looks.reverse, looks.text, as_json)
        return
    require("top", "textual")
    from agentmetrics.cli.top.screen import Top

    feeds = Feeds(sources, looks.interval)
    Top(
        feeds,
        glyphs_of_output(),
        window=looks.window or WINDOW_SECONDS,
        order=looks.order,
        reverse=looks.reverse,
        text=looks.text,
    ).run()
    feeds.close()


def _can_draw() -> bool:
    """Whether there is somebody at a terminal on which one can go to a place."""
    # Standard error is what Textual draws on. A stream that is closed is None.
    streams: tuple[TextIO | None, ...] = (sys.stdin, sys.stdout, sys.stderr)
    is_terminal = all(each is not None and each.isatty() for each in streams)
    return is_terminal and os.environ.get("TERM") not in ("dumb", "unknown")


def _sources(named: Iterable[str]) -> list[Source]:
    try:
        found = list(dict.fromkeys(map(source_of, named)))  # naming one twice does not double it
    except ValueError as error:
        fail(str(error), code=2)
    require("top", "prometheus_client")
    return found
