"""SDK clients whose calls are recorded: a module for each SDK, and what they have in common."""
