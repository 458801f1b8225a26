"""Summaries on streams: as wide as their terminal, in their encoding."""

from __future__ import annotations

import os
from typing import Protocol, TextIO

from agentmetrics.summary.summary import RecorderSummary

_WIDTH = 80


class Summarized(Protocol):
    """What has a summary, or raises ``NotImplementedError``."""

    def summary(self) -> RecorderSummary: ...


def print_to(file: TextIO, recorder: Summarized) -> None:
    """Print what a recorder holds, or why it has nothing to show.

    What the stream's encoding lacks is written as its escape.
    """
    encoding = getattr(file, "encoding", None) or "utf-8"
    try:
        text = recorder.summary().text(_width(file), encoding=encoding)
    except NotImplementedError as error:
        text = str(error)
    file.write(f"{text}\n")
    file.flush()


def _width(file: TextIO) -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(file.fileno()).columns or _WIDTH
    except (OSError, ValueError, AttributeError):  # no terminal; no file
        return _WIDTH
