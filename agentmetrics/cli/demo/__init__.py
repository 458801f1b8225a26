"""``agentmetrics demo``: LangGraph programs, measured, beside the account of their model server."""
