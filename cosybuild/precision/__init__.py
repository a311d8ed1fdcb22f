"""Lowering of a graph to 16 bits: the rules for nodes that stay in fp32, the typed graph, and its loss of accuracy."""
