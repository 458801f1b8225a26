"""Queries and connection pools of SQLAlchemy engines, in the metrics system you already use."""

from agentmetrics_sqlalchemy.engines import InstrumentedEngine, instrument_engine
from agentmetrics_sqlalchemy.operations import OPERATIONS

__all__ = ["OPERATIONS", "InstrumentedEngine", "instrument_engine"]
