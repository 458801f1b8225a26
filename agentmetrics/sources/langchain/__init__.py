"""LangChain and LangGraph: their callbacks, wrappers for what has none, and where runs are."""
