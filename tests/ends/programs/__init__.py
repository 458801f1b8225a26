"""Programs that end: each makes calls, and says of every one that it has returned."""
