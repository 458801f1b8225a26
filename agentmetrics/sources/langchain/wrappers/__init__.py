"""Wrappers of LangChain objects that have no callbacks: embeddings, rerankers, caches."""
