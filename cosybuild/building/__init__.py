"""The build: stages, plan, runner, events and records. It knows no model."""
