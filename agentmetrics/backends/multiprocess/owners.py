"""Whether a process still writes to a file: by the number in the file's name, and by the kernel."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import psutil

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

CLOCK_SLACK_SECONDS = 5.0
"""A process' start is known to a clock tick and the boot time to a second."""


class Owners:
    """Who wrote the files of a directory, as it is at one moment: each process is asked once."""

    def __init__(self) -> None:
        self._since: dict[int, float | None] = {}

    def alive_since(self, pid: int) -> float | None:
        """When the process of this number began; ``None`` where there is none that can still do
        something, as a zombie cannot."""
        if pid not in self._since:
            self._since[pid] = _alive_since(pid)
        return self._since[pid]

    def has_left(self, pid: int, file: Path) -> bool:
        """Whether no process will write to a file again, so that what it holds may be moved.

        A process of the owner's number may be a younger one, which goes on in the old one's file.
        """
        return self.alive_since(pid) is None and not is_open(file)

    def is_over(self, pid: int, file: Path) -> bool:
        """Whether what a file says of the moment is over, since whoever wrote it is gone.

        A younger process with the old one's number did not write it, unless it has it open.
        """
        since = self.alive_since(pid)
        try:
            return since is None or (
                since > file.stat().st_mtime + CLOCK_SLACK_SECONDS and not is_open(file)
            )
        except FileNotFoundError:
            return False


def _alive_since(pid: int) -> float | None:
    try:
        if not psutil.pid_exists(pid):
            return None
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except (psutil.NoSuchProcess, OverflowError):
        return None
    except psutil.AccessDenied:  # it is there, and keeps its age to itself
        return 0.0


def is_open(file: Path) -> bool | None:
    """Whether a process of this kernel, be it in another container, has a file open for writing.

    Linux grants a read lease only on a file that nobody has open or mapped for writing. Where there
    are no leases, or not on files of others, nobody knows, and the process' number decides.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Who opens the file meanwhile waits for the lease to end, and this process is told so: by
        # a signal that nobody notices, in place of SIGIO, which ends a process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    finally:
        os.close(descriptor)
    return False
