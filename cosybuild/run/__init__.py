"""Runs: from settings to a run directory with its records, artifacts, failure archive and lock file."""
