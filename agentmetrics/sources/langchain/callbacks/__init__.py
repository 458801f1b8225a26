"""LangChain's callbacks as calls, agent runs, tool executions and queries."""
