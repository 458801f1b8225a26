"""What the plugins cost, each over the bare thing and beside its best-known peer."""
