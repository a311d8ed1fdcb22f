"""The fixtures of stores, for the tests of this directory."""

from tests.stores import bench, empty_memory, store, warnings

__all__ = ["bench", "empty_memory", "store", "warnings"]
