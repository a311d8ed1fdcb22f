"""Failed gates: the failure archive, its reproduction, and the known causes."""
