"""``agentmetrics top``: what agents do now, in a terminal, in a table, as JSON."""
