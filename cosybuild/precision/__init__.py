"""The lowering of a graph: rules, ranges, casts, emulation, and the search for nodes to keep in fp32."""
