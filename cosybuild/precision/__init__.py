"""Precision in the graph: which nodes stay in fp32 and why, the typed graph, and what it loses."""
