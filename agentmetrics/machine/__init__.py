"""The machine or container that the process runs in: its limits, and what is in use of them."""
