"""Weights files in the layouts that trainers write: their shards, their content, and the choice of a state dict."""
