"""Processes that make calls and are killed at random, while their databases come and go."""
