"""The build, independent of any model: stages, plans, the runner, events, subprocesses and records."""
