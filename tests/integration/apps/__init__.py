"""Programs that the integration tests run."""
