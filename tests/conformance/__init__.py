"""Recorded provider responses, and what each of them bills."""
