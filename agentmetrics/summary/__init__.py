"""What a recorder holds by agent, model, tool and budget, as people want to see it."""
