"""The machine, for helpers about files, locks, memory, clock and JSON that know nothing of a build."""
