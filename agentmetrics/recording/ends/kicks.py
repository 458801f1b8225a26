"""Sends a signal again whose handler does not begin, so that it cannot be overslept.

Python notes a signal at once and calls its handler at the interpreter's next look. When the main
thread goes to sleep in between, as one easily does that has waited for the GIL, the handler is
called when it wakes up, which may be never. A second signal interrupts its sleep. That the first
has come is told by faulthandler, which writes at once, in C; what it writes is thrown away. A
handler that has come at a bad moment waits for a kick, too.

So does the child of a fork. It has its parent's handler until it has begun anew, and forgets what
came before that: a pool that ends a worker which it has just made would wait for it without end.
"""

from __future__ import annotations

import _socket
import itertools
import os
import signal
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from agentmetrics.recording.ends.work import native_lock, start

QUICK_PAUSE_SECONDS = 0.002
QUICK_KICKS = 25
PAUSE_SECONDS = 0.05
"""Between kicks, at first and later."""


class Kicks:
    """Kicks the main thread, from the time something is written to ``told`` until ``stop``.

    Raises ``OSError`` where there are no more files.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._main = threading.main_thread().ident
        # Not of ``socket``, whose sockets wait in gevent's way once that is patched.
        self.told, self._heard = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_DGRAM)
        self.told.setblocking(False)
        self._heard.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        self._kicking = native_lock()
        self._is_stopped = False
        self._process = os.getpid()

    @property
    def is_of_parent(self) -> bool:
        """Whether this is a child, which nobody kicks."""
        return os.getpid() != self._process

    def begin(self) -> bool:
        """Start the thread; ``False`` where there are no more."""
        return start(self._run)

    def stop(self) -> bool:
        """Kick no more from now on; ``False`` if that was so already."""
        with self._kicking:
            was_stopped, self._is_stopped = self._is_stopped, True
        return not was_stopped

    def end(self) -> None:
        """Let the thread end: there is nothing to kick for any more, and ``told`` is closed."""
        self.stop()
        if self.is_of_parent:  # so is the thread
            self._heard.close()
        else:
            with suppress(OSError):
                self.told.send(b"over")
        self.told.close()

    def _run(self) -> None:
        child, not_before = 0, 0.0
        while (told_by := _sender(self._heard)) != self._process:
            # A child, which has the socket as well. One signal is told in many pieces.
            if told_by is not None and (told_by != child or time.monotonic() > not_before):
                time.sleep(QUICK_PAUSE_SECONDS)
                with suppress(OSError):
                    os.kill(told_by, self._number)
                child, not_before = told_by, time.monotonic() + QUICK_PAUSE_SECONDS
        for kick in itertools.count():
            time.sleep(QUICK_PAUSE_SECONDS if kick < QUICK_KICKS else PAUSE_SECONDS)
            with self._kicking:
                if self._is_stopped:
                    break
                signal.pthread_kill(self._main or 0, self._number)
        self._heard.close()


def _sender(heard: Any) -> int | None:
    """The process that wrote the next message."""
    _, told, _, _ = heard.recvmsg(1, _socket.CMSG_SPACE(struct.calcsize("3i")))
    for _, kind, data in told:
        if kind == _socket.SCM_CREDENTIALS:
            pid: int = struct.unpack("3i", data)[0]
            return pid
    return None
