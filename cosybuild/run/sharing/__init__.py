"""Bundles of finished runs: how they are written, what they may contain, and how they are checked and imported."""
