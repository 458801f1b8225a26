"""What providers report, in one shape: usage, service tiers, content blocks, types of errors."""
