"""What plugins and their neighbours in the core cost, beside the best-known peer of each."""
