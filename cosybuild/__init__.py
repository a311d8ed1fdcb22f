"""cosybuild: a declarative build system for deployable neural networks."""

__version__ = "0.1.0"
