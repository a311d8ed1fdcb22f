"""The early exit of a command with nothing to do; this code runs before Hydra and torch are imported."""
