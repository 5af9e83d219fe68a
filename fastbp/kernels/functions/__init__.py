"""Activations and losses on vectors, and over whole arrays."""
