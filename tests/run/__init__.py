"""Runs: their records, archives, lock files and artifacts."""
