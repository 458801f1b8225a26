"""Calls, agent runs, tool executions and queries: what is open, what surrounds it, how it ended."""
