"""Sweeps, for code about their plan, the records of their cells, launchers and callbacks."""
