"""Time measurements of artifacts: rounds, statistics, and artifacts as timed calls."""
