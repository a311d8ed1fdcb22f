"""Time measurements of artifacts, for code about rounds, statistics, and artifacts as timed calls."""
