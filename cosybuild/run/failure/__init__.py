"""Failed gates, for code about the failure archive, its reproduction, and the known causes."""
