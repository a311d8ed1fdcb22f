"""Test inputs, references, metrics, gates and timing statistics: everything that compares two computations."""
