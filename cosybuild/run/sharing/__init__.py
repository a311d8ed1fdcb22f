"""Bundles of finished runs, for code about their content and the check before an import."""
