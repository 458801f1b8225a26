"""Imports that another thread had begun when a process forked.

Each module has a lock while it is imported. A child that imports what a thread of its parent was
importing waits for that thread, which it has not got: for ever. So the child begins such imports
anew, whosever they are.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import Any

from agentmetrics.recording.fork import ForkAware, watch_forks

FIRST_IN_CHILD = 100
"""An order past all others: none of those who are told of a fork is to wait for an import."""


class _Imports(ForkAware):
    def after_fork_in_child(self) -> None:
        # There is no other way to these locks. Where they are not found, the child is as it was.
        locks: dict[str, Any] = getattr(getattr(importlib, "_bootstrap", None), "_module_locks", {})
        me = threading.get_ident()
        for name, reference in list(locks.items()):
            owner = getattr(reference(), "owner", None)
            if owner != me:  # one that nobody has may be about to be taken
                locks.pop(name, None)
                if owner is not None and _is_half_imported(name):
                    del sys.modules[name]


def _is_half_imported(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return bool(getattr(spec, "_initializing", False))


_imports = _Imports()
watch_forks(_imports, FIRST_IN_CHILD)
