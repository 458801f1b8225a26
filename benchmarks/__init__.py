"""What metrics cost: every row a ratio to something fixed, measured in the same run."""
