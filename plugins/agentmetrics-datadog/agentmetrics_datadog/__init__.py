"""A backend of agentmetrics that delivers to DogStatsD."""
