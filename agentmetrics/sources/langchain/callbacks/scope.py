"""The scopes of LangChain: runs of chains and graphs, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from agentmetrics.calls.facts import Scope
from agentmetrics.calls.outcome import INTERRUPTED, SUCCESS


@dataclass(eq=False)
class Alternatives:
    """A place where one model takes over when another fails, and why the last one did.

    ``run`` is the number of the run that it is, ``nested`` whether its models run inside that.
    """

    run: int
    outer: Alternatives | None
    failed: str = field(default="", init=False)
    nested: bool = field(default=False, init=False)


@dataclass(eq=False)
class ChainRun(Scope):
    """One run of a chain or graph.

    ``graph`` is the nearest named LangGraph graph at or above it, ``outer_graph`` the one above;
    ``is_graph`` is whether a node of it has started, so that it is a graph itself, and
    ``interrupted`` whether that stopped at an interrupt. ``alternatives`` is the nearest place at
    or above it where one model takes over from another.
    """

    graph: str = ""
    outer_graph: str = field(default="", init=False)
    is_graph: bool = field(default=False, init=False)
    interrupted: bool = field(default=False, init=False)
    alternatives: Alternatives | None = field(default=None, init=False)

    @property
    def run_status(self) -> str:
        return INTERRUPTED if self.interrupted and self.status == SUCCESS else self.status
