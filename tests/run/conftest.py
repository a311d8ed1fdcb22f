"""The fixtures of stores, for the tests of this directory."""

from tests.stores import bench, store, warnings

__all__ = ["bench", "store", "warnings"]
