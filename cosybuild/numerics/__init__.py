"""The numerics of a comparison: inputs, metrics, tolerances and gates. No module of this package runs an artifact."""
