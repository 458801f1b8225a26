"""Frameworks that a call can be made inside of, each behind an adapter that is loaded with it.

Nothing here imports a framework: an adapter is loaded when the program has loaded the framework
itself, at once or later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Protocol

from agentmetrics.calls.facts import AgentRun, LLMCall, ToolExecution
from agentmetrics.pipeline import Pipeline
from agentmetrics.recording.said import QuietLogger

logger = QuietLogger("agentmetrics")


Placed = LLMCall | ToolExecution
"""What begins in a place of the program that a framework may know more of."""


class Framework(Protocol):
    """What a framework knows of the place in the program that runs just now."""

    def place_call(
        self,
        pipeline: Pipeline,
        call: Placed,
        agent_name: str | None,
        labels: Mapping[str, Any],
    ) -> bool:
        """Give a call, of a model or a tool, that begins here its agent, the run of it and the
        extra labels' values.

        ``agent_name`` and ``labels`` were told by the program and stand before what the framework
        says. ``False``, and nothing done, where the program is not inside of the framework.
        """

    def place_run(self, pipeline: Pipeline, run: AgentRun) -> bool:
        """Give an agent run that begins here the extra labels' values and its
        ``outer_name``; ``False``, and nothing done, as for ``place_call``."""


_frameworks: list[Framework] = []


def frameworks() -> Sequence[Framework]:
    """The adapters of the frameworks that the program has loaded."""
    return _frameworks


def add_framework(adapter: Framework) -> None:
    """Ask this adapter about every call and run that comes from no framework's own events."""
    _frameworks.append(adapter)


def when_imported(module: str, adapter: str) -> None:
    """Import ``adapter`` once the program has imported ``module``: now, if it has already."""
    loaded = sys.modules.get(module)
    spec = getattr(loaded, "__spec__", None)
    if loaded is not None and not getattr(spec, "_initializing", False):
        _load(adapter)
    else:
        _following.waiting[module] = adapter
        if _following not in sys.meta_path:
            sys.meta_path.insert(0, _following)


def _load(adapter: str) -> None:
    try:
        import_module(adapter)
    except Exception as error:  # an older or newer framework is no reason to fail its import
        logger.warning("%s cannot be used: %s: %s", adapter, type(error).__name__, error)


class _Following(MetaPathFinder):
    """Finds nothing by itself: it lets the others find a module, and acts once that is loaded."""

    def __init__(self) -> None:
        self.waiting: dict[str, str] = {}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        adapter = self.waiting.pop(fullname, None)
        if adapter is None:
            return None
        spec = find_spec(fullname)  # this finder does not answer any more
        if spec is not None and spec.loader is not None:
            spec.loader = _ThenLoad(spec, spec.loader, lambda: _load(adapter))
        return spec


class _ThenLoad(Loader):
    """The loader of a module, with something to do afterwards."""

    def __init__(self, spec: ModuleSpec, loader: Loader, then: Callable[[], None]) -> None:
        self._spec, self._loader, self._then = spec, loader, then

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._spec.loader = module.__loader__ = self._loader  # as if we had not been here
        self._loader.exec_module(module)
        self._then()


_following = _Following()

when_imported("langchain_core.callbacks.manager", "agentmetrics.sources.langchain.adapter")
# What runs something imports this: the handler that an agent gives it is not to wait for the run.
when_imported("langchain_core.runnables.base", "agentmetrics.sources.langchain.attach")
