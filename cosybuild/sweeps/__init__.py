"""Sweeps: the plan, the record of each cell, and the launchers and callbacks that run and report them."""
