"""The Grafana boards, made from the catalogue; ``docs/generate.py`` writes them.

They are tools of the project's development: what is installed is the JSON that they make.
"""

from __future__ import annotations

from boards import agent, cost, itself, models, overview, platform

BOARDS = {
    "overview": overview.make,
    "agent": agent.make,
    "cost": cost.make,
    "models": models.make,
    "platform": platform.make,
    "itself": itself.make,
}
"""By the names of their files."""
