"""The comparison of artifacts with the reference: cases, properties, solver runs, the error budget, and their gates."""
