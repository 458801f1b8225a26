"""``agentmetrics cost``: what the ledger says, for people, for programs and to send on."""
