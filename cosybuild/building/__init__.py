"""The build without any model: stages, plans, the runner, events and records."""
