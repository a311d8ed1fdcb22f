"""Functions for files, locks, memory, clock and JSON that do not depend on the build."""
