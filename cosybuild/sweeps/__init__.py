"""Sweeps: their plans, the records of their cells, their launchers and their Hydra callbacks."""
