"""Embeddings: images as vectors, and what can be done with those."""
