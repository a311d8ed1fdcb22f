"""Bundles of finished runs for other teams: what they may hold, and the check before an import."""
