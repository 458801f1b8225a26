"""Metrics of the catalogue that are in no panel, and why."""

from __future__ import annotations

EXEMPT = {
    "llm_memory_rss_mb": "an alias of llm_memory_rss_bytes, which is shown",
    "llm_memory_available_mb": "an alias of llm_memory_available_bytes, which is shown",
    "llm_input_tokens_last_call": "one call out of many; agent_run_tokens has the distribution",
    "llm_output_tokens_last_call": "one call out of many; agent_run_tokens has the distribution",
    "budget_unpriced_calls": "llm_unpriced_calls_total, which is shown, says of which models",
    "llm_cost_difference_usd_total": "says how good the price list is, not how the agents are",
    "agentmetrics_multiprocess_files_skipped_total": "a worker died as it began; the log names it",
    "agentmetrics_multiprocess_files_remade_total": "somebody removed a file; the log says it",
    "agentmetrics_multiprocess_series_unwritten_total": "the disk is full, which other boards show",
    "cache_hit_ratio": "counts since the start; the share within the time range is shown",
}
