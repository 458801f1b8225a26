"""Limits on what calls may cost: what they say, how they stand, and who holds calls to them."""
