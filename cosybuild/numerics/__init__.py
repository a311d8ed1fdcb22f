"""The numerics of a comparison: test inputs, metrics, tolerances and gates. No module here runs an artifact."""
