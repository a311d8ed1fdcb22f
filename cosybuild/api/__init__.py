"""The Python API: `build`, `plan` and `sweep`, which do what the command line does; `cosybuild` offers them."""
