"""Sweeps: their plan, the records of their cells, launchers and callbacks."""
