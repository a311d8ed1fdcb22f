"""The early exit of a command with nothing to do, for code that runs before Hydra and torch are imported."""
