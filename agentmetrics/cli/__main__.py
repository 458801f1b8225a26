"""``python -m agentmetrics.cli``."""

from __future__ import annotations

from agentmetrics.cli import main

main()
