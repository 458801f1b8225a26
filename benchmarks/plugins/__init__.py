"""What the parts around agents cost, each over what is bare and over its best-known peer."""
