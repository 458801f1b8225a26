"""Whether what runs the agents can be scraped: ``up`` of the jobs that agentmetrics is in."""

from __future__ import annotations

from agentmetrics import catalog
from boards.selectors import RANGE, TARGET, aggregate, sel, target

_OURS = f"on (job) last_over_time({sel(catalog.BUILD_INFO)}[{RANGE}])"
"""A Prometheus server scrapes other things, too, which All would take in."""


def of_ours(series: str) -> str:
    """Prometheus' own series about a scrape, such as ``up``, of jobs with agentmetrics."""
    ours = f"{series}{{{target()}}} and {_OURS}"
    return aggregate("max", ours, *TARGET)


def unreachable() -> str:
    """How many targets could not be scraped."""
    return f"count({of_ours('up')} == 0) or vector(0)"
