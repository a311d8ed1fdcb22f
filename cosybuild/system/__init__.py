"""Functions on files, locks, memory, the clock, the machine and JSON that do not depend on the build."""
