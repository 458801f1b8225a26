"""Metrics, instruments, recorders, layers: what records, and knows nothing of LLMs."""
