"""Printing what was recorded: when the program asks for it, and at its end."""

from __future__ import annotations

import sys
from typing import TextIO

from agentmetrics.config.active import get_recorder
from agentmetrics.recording.recorder import Recorder
from agentmetrics.summary.printing import print_to


def print_summary(recorder: Recorder | None = None, *, file: TextIO | None = None) -> None:
    """Print what was recorded by agent, model, tool and budget: in a recorder, or the one in use.

    It goes to ``file``, by default standard output. A recorder that keeps no values has one
    sentence printed, which says so. As with ``print``, nothing happens where there is no standard
    output. Raises ``ConfigurationError`` where none is given and the settings have a mistake, and
    whatever writing to the file raises.
    """
    stream: TextIO | None = sys.stdout if file is None else file
    if stream is not None:
        print_to(stream, recorder or get_recorder())
