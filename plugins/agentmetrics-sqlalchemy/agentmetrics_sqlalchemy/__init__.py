"""Queries and connection pools of SQLAlchemy engines, in the metrics system you already use."""
