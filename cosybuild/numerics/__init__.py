"""Numerics of a comparison, for code about test inputs, metrics, tolerances and gates that runs no artifact."""
