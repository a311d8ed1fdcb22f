"""Lowering of a graph, for code about rules, ranges, casts, emulation and the search for nodes to keep in fp32."""
