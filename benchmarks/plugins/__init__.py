"""Benchmarks of the plugins, each over the bare thing and over its best-known peer."""
