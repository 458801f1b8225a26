"""What draws the panels of a dashboard: a page of Grafana's components, and its browser."""
