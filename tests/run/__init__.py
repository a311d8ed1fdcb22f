"""Runs: what they keep and what is made of it."""
