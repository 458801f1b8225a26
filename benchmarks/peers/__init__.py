"""The conformance cases through other LangChain handlers, each in a process of its own."""
