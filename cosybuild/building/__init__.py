"""The build, for code about stages, plans, the runner, events and records that depends on no model."""
