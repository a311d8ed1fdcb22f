"""Failed gates: the failure archive, the reproduction of the failure from it, and the known causes."""
