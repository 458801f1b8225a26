"""Whether Python's garbage collector is at work in this thread, and finalizes what it has found.

Until Python 3.12 it begins wherever memory is asked for, in the middle of ``ContextVar.set`` too.
A generator that it finalizes there, or a ``__del__``, that sets or resets a context variable in
turn, changes the context under the interpreter, which crashes; and one that reads a variable has it
remember, past its end, what is just being taken out of it. So what the collector ends only takes a
note, and what somebody's ``__del__`` begins there neither sets nor reads any: it is in no run.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Mapping
from threading import get_ident
from typing import Any

COLLECTING = [0]
"""The thread that collects, else 0: there is one at a time. Ask it first, which costs nothing::

    if COLLECTING[0] and is_collecting():
"""


def is_collecting() -> bool:
    """Whether what goes on in this thread was begun by the collector."""
    return COLLECTING[0] == get_ident()


def _hear(phase: str, _: Mapping[str, Any]) -> None:
    COLLECTING[0] = get_ident() if phase == "start" else 0


if sys.version_info < (3, 12):  # from then on it begins between two instructions of Python alone
    gc.callbacks.append(_hear)
