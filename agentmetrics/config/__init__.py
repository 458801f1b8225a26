"""AGENTMETRICS_* and ``configure``: what is asked for, what it makes, and what is in use."""
