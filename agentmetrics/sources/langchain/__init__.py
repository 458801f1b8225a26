"""LangChain's events as our calls, runs, tools and queries."""
