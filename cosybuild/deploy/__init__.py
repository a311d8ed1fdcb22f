"""Putting artifacts into service: which go where, whether they may, and the change as one step."""
