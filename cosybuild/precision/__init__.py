"""The lowering of a graph to a smaller type: rules, ranges, casts, emulation, and the search for nodes to keep."""
