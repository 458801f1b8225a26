"""Recording rules, alerts with their tests, and runbooks: as data, and as files."""
