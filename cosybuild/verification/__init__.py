"""The comparison with the reference: cases, properties, solver runs and the error budget."""
