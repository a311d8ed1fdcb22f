"""Inputs, metrics and tolerances: what "the same" means."""
