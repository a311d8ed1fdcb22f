"""Runtimes behind one shape: load a model, infer arrays."""
