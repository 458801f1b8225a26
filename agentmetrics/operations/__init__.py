"""Dashboards, alert rules and runbooks, made from the catalogue."""
