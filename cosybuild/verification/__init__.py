"""The comparison with the reference, for code about cases, properties, solver runs and the error budget."""
