"""What the plugins cost, beside the bare thing and their best-known peers."""
