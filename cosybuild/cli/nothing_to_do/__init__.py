"""The early exit of a command that has nothing to do, by a certificate of everything that an earlier run looked at."""
