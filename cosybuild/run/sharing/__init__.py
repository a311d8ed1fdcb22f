"""Bundles of finished runs: their content, and the check before an import."""
