"""The Python API: `build`, `plan` and `sweep`, with the engine of the command line. `cosybuild` offers the names."""
