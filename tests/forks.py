"""Forks of Python's and in C, and what a test sees of them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable

from agentmetrics.recording.fork import ForkAware, watch_forks


def fork_in_c() -> int:
    """Fork with none of Python's hooks around it, as uWSGI does, and libraries in C.

    The child of such a fork hangs where another thread asks for the interpreter's own lock
    meanwhile: that is CPython's, and nobody's to mend. So no thread may ask for it for a while, and
    one that does so already has it first. What other threads there are had better wait for
    something else.
    """
    usual = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    time.sleep(0.01)
    child: int = ctypes.PyDLL(None).fork()
    sys.setswitchinterval(usual)
    return child


def exit_code_of_child(work: Callable[[], int], fork: Callable[[], int] = os.fork) -> int:
    """What ``work`` returns in a child; 1 if it raises, and a signal's if it hangs."""
    child = fork()
    if not child:
        signal.alarm(60)
        code = 1
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Watcher(ForkAware):
    """Logs what it is told."""

    def __init__(self, name: str, log: list[str], order: int) -> None:
        self.name, self.log = name, log
        watch_forks(self, order)

    def before_fork(self) -> None:
        self.log.append(f"before {self.name}")

    def after_fork_in_parent(self) -> None:
        self.log.append(f"after {self.name}")

    def after_fork_in_child(self) -> None:
        self.log.append(f"child {self.name}")
