"""The configuration of Alertmanager: what is grouped, what silences what, and who is notified."""

from __future__ import annotations

from typing import Any

from agentmetrics.operations.receivers import CONFIG, Receiver
from agentmetrics.operations.rules.subjects import ALERTS
from agentmetrics.operations.yaml_text import dump

INHIBITIONS = {
    "LLMErrorBudgetBurnFast": ("LLMErrorBudgetBurnSlow",),
    "LLMLatencyBudgetBurnFast": ("LLMLatencyBudgetBurnSlow",),
    "LLMFirstTokenBudgetBurnFast": ("LLMFirstTokenBudgetBurnSlow",),
    "ProviderFailing": ("ProviderRateLimited",),
    "AgentStuck": ("AgentRunTooLong", "CallStuck"),
    "AgentLoopsNow": ("AgentLoops",),
    "BudgetSpent": ("BudgetNearlySpent", "BudgetForecast"),
    "BudgetRunsOutSoon": ("BudgetNearlySpent", "BudgetForecast"),
    "LedgerUnreachable": ("LedgerBacklog",),
    "DatabasePoolExhausted": ("DatabaseCheckoutSlow",),
    "MemoryHigh": ("MemoryAvailableLow",),
    "DiskFullSoon": ("DiskNearlyFull",),
}
"""The warnings that a critical alert silences while it fires: they say the same, more mildly."""

_HEADER = """\
# Where alerts go. Check it with: amtool check-config alertmanager.yml
"""
_NOBODY = """\
# The receiver below has no integrations, so nobody is notified; alerts are only shown in
# Alertmanager. To be notified, export with --receiver slack, webhook, pagerduty or email, or add an
# integration of your own: https://prometheus.io/docs/alerting/latest/configuration/#receiver
"""
_SECRETS = """\
# Secrets are in files beside this one. Their paths are relative to the directory that Alertmanager
# is started in: start it in this one.
"""
_PRIVATE = """\
# This file contains a secret, the URL: Alertmanager reads that from a file only from 0.26 on.
"""
_ROUTE: dict[str, Any] = {
    "receiver": "agentmetrics",
    "group_by": ["alertname", "job", "agent_name"],
    "group_wait": "30s",
    "group_interval": "5m",
    "repeat_interval": "12h",
    "routes": [
        {
            "matchers": ['severity="critical"'],
            "receiver": "agentmetrics",
            "group_wait": "10s",
            "repeat_interval": "2h",
        }
    ],
}


def alertmanager_files(receiver: Receiver) -> dict[str, str]:
    """Alertmanager's configuration, the secrets that it refers to, and what keeps these out of a
    repository."""
    config = {
        "global": {"resolve_timeout": "5m"},
        "route": _ROUTE,
        "inhibit_rules": _inhibit_rules(),
        "receivers": [{"name": "agentmetrics", **receiver.integrations}],
    }
    ignored = ["secrets", "alertmanager.yml"] if receiver.secret_config else ["secrets"]
    return {
        CONFIG: _comments(receiver) + dump(config),
        "alertmanager/.gitignore": "".join(f"/{name}\n" for name in ignored),
        **receiver.secrets,
    }


def _inhibit_rules() -> list[dict[str, Any]]:
    labels = {alert.name: alert.labels for alert in ALERTS}
    return [
        {
            "source_matchers": [f'alertname="{source}"'],
            "target_matchers": [f'alertname=~"{"|".join(targets)}"'],
            "equal": list(labels[source]),
        }
        for source, targets in INHIBITIONS.items()
    ]


def _comments(receiver: Receiver) -> str:
    if not receiver.integrations:
        return _HEADER + _NOBODY
    if receiver.secret_config:
        return _HEADER + _PRIVATE
    return _HEADER + (_SECRETS if receiver.secrets else "")
