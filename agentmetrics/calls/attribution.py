"""Which agent a call belongs to: its name, and the run of it whose totals the call adds to."""

from __future__ import annotations

from agentmetrics.calls.context import run_here
from agentmetrics.calls.facts import UNKNOWN, AgentRun, Scope


def attribute(
    name: str | None, scope: Scope | None, otherwise: str = UNKNOWN
) -> tuple[str, AgentRun | None]:
    """The agent of a call inside ``scope``, and the run of it that goes on.

    The name is the one that was told, else that of the run around, else ``otherwise``.
    """
    run = run_here() if scope is None else nearest_run(scope)
    if name is None:
        name = run.agent_name if run is not None else otherwise
    if run is not None and (run.ended or run.agent_name != name):
        run = next((r for r in runs_around(scope) if r.agent_name == name and not r.ended), None)
    return name, run


def nearest_run(scope: Scope | None) -> AgentRun | None:
    """The run that began last of those around: the scope's, and an ``InstrumentedAgent``'s."""
    around = run_here()
    if scope is None or scope.run is None:
        return around
    return around if around is not None and around.started > scope.run.started else scope.run


def runs_around(scope: Scope | None) -> list[AgentRun]:
    """The runs around, the one that began last first."""
    of_scope = None if scope is None else scope.run
    runs = [run for run in (of_scope, run_here()) if run is not None]
    return sorted(runs, key=lambda run: run.started, reverse=True)
