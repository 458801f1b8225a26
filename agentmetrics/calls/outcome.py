"""How a call ended: its status."""

from __future__ import annotations

import concurrent.futures
import sys
from typing import Final

SUCCESS: Final = "success"
ERROR: Final = "error"
CANCELLED: Final = "cancelled"
INTERRUPTED: Final = "interrupted"

_control_flow: set[tuple[str, str]] = set()


def add_control_flow(module: str, name: str) -> None:
    """Let errors of this class, and of those that inherit from it, be no errors but interrupts.

    By name, since the module need not be there.
    """
    _control_flow.add((module, name))


def status_of(error: BaseException) -> str:
    """``cancelled`` for an order to stop, ``interrupted`` for what a framework raises to stop a run
    until it is resumed, else ``error``.

    A group of errors is what all of its members are; a mixed one is an ``error``.
    """
    if any(is_a(error, module, name) for module, name in _control_flow):
        return INTERRUPTED
    members = getattr(error, "exceptions", ())
    if isinstance(members, tuple) and members:
        statuses = {status_of(member) for member in members}
        return statuses.pop() if len(statuses) == 1 else ERROR
    return CANCELLED if _stops(error) else ERROR


def _stops(error: object) -> bool:
    """Whether it is raised to stop what runs, and not because that failed.

    Python keeps what is no ``Exception`` for that: ``CancelledError`` of asyncio, ``Cancelled`` of
    trio, ``GeneratorExit``, ``KeyboardInterrupt``, ``SystemExit``, and ``GreenletExit`` and
    ``Timeout`` of gevent. A panic of an extension in Rust, which PyO3 makes one of those, is a
    failure.
    """
    if isinstance(error, Exception):
        return isinstance(error, concurrent.futures.CancelledError)
    return isinstance(error, BaseException) and type(error).__name__ != "PanicException"


def is_a(error: object, module: str, name: str) -> bool:
    """Whether ``error`` is an instance of a class of a module that may not be there."""
    cls = getattr(sys.modules.get(module), name, None)
    return isinstance(cls, type) and isinstance(error, cls)
