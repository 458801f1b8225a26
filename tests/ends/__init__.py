"""Every end that a process can have, and what the ledger and the backends have of it afterwards."""
