"""What calls cost over time: the ledger that keeps it, and the budgets that limit it."""
