"""Every alert, by the subject whose file it is in."""

from __future__ import annotations

from agentmetrics.operations.rules import (
    agents,
    answers,
    budgets,
    caches,
    costs,
    database,
    http,
    itself,
    ledger,
    providers,
    service,
    speed,
    stuck,
    system,
    tasks,
    tools,
)
from agentmetrics.operations.rules.alert import Alert
from agentmetrics.operations.rules.buckets import bucket_alert
from agentmetrics.operations.rules.objectives import Objectives
from agentmetrics.operations.rules.service_levels import burn_alerts


def subjects(objectives: Objectives) -> dict[str, tuple[Alert, ...]]:
    """The alerts by the name of their file; the objectives are what some of them hold to."""
    return {
        **burn_alerts(objectives),
        "providers": providers.ALERTS,
        "answers": answers.ALERTS,
        "speed": speed.ALERTS,
        "stuck": stuck.ALERTS,
        "agents": agents.ALERTS,
        "tools": tools.ALERTS,
        "budgets": budgets.ALERTS,
        "costs": costs.ALERTS,
        "ledger": ledger.ALERTS,
        "caches": caches.ALERTS,
        "service": service.ALERTS,
        "http": http.ALERTS,
        "database": database.ALERTS,
        "tasks": tasks.ALERTS,
        "system": system.ALERTS,
        "itself": (*itself.ALERTS, bucket_alert(objectives)),
    }


ALERTS: tuple[Alert, ...] = tuple(
    alert for alerts in subjects(Objectives()).values() for alert in alerts
)
"""Every alert, with the default objectives."""
