"""Time measurements of artifacts: rounds, statistics, and the artifacts as calls that can be timed."""
