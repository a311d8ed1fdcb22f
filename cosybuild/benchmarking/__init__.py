"""Time measurements of artifacts: alternating rounds, statistics, and the artifacts as functions that can be timed."""
