"""A summary on standard error when the program ends, for those who do not want to write a line."""

from __future__ import annotations

import os
import sys

from agentmetrics.recording.ends.children import is_child
from agentmetrics.recording.exits import close_at_exit, skip_at_exit
from agentmetrics.summary.printing import Summarized, print_to


class SummaryAtExit:
    """Prints what a recorder holds, once; not in children, which are forked or multiprocessing's.

    The registry ends what is open before that.
    """

    def __init__(self, recorder: Summarized) -> None:
        self._recorder = recorder
        self._pid = os.getpid()
        self._is_printed = False

    def begin(self) -> None:
        close_at_exit(self)

    def give_up(self) -> None:
        skip_at_exit(self)

    def close(self) -> None:
        if self._is_printed or os.getpid() != self._pid or is_child():
            return
        self._is_printed = True
        if sys.stderr is not None:  # as under pythonw
            print_to(sys.stderr, self._recorder)
