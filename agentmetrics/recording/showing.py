"""How a recorder shows itself: its summary, and one line of it.

What a summary says is no matter of this package: ``agentmetrics.summary`` registers itself here,
and only type checkers see its type, under the public name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from typing import TYPE_CHECKING, Protocol

from agentmetrics.recording.metric import class_name
from agentmetrics.recording.values import Family

if TYPE_CHECKING:
    from agentmetrics import RecorderSummary


class Switches(Protocol):
    """What knows which metrics are turned off."""

    @property
    def is_off(self) -> Callable[[str], bool]: ...


class Shown(Protocol):
    """What is shown of a recorder."""

    @property
    def inner(self) -> Sequence[Shown]: ...
    @property
    def anchor(self) -> Switches: ...
    def collect(self) -> list[Family]: ...
    def collect_all(self) -> list[Family]: ...


Summarize = Callable[[Sequence[Family], Callable[[str], bool]], "RecorderSummary"]
"""Reads a summary from all series; the second says whether the metric of a name is turned off."""


def _unknown(families: Sequence[Family], is_off: Callable[[str], bool]) -> RecorderSummary:
    raise RuntimeError("nothing reads summaries: import agentmetrics.summary.reading")


_summarize: Summarize = _unknown


def summarize_with(summarize: Summarize) -> None:
    """Read summaries with this."""
    global _summarize
    _summarize = summarize


def summary_of(recorder: Shown) -> RecorderSummary:
    """What the recorder holds. ``NotImplementedError`` where it keeps no values."""
    return _summarize(recorder.collect_all(), recorder.anchor.is_off)


def line_of(recorder: Shown) -> str:
    """The recorder in one line: of this process alone, as debuggers and logs ask for it anywhere.

    Raises nothing.
    """
    try:
        summary = _summarize(recorder.collect(), recorder.anchor.is_off)
        return f"<{_named(recorder)}: {summary.line()}>"
    except NotImplementedError:
        return f"<{_named(recorder)}: keeps no values to show>"
    except Exception as error:
        return f"<{class_name(recorder)}: cannot be read: {type(error).__name__}>"


def html_of(recorder: Shown) -> str:
    """The recorder in a notebook."""
    try:
        return summary_of(recorder)._repr_html_()
    except NotImplementedError as error:
        return f"<p>{escape(str(error))}</p>"


def _named(recorder: Shown) -> str:
    inner = " and ".join(map(_named, recorder.inner))
    return f"{class_name(recorder)} of {inner}" if inner else class_name(recorder)
