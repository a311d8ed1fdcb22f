"""Imports of a user's modules from the source that is there now, past byte code and past what was imported before."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any


class FromSource(SourceFileLoader):
    """Compiles the source each time. Byte code counts as current for a source of the same size and second.

    Attributes:
        digest: sha256 of the source that was compiled; None before.
    """

    digest: str | None = None

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        """Refuse: without it the import system neither reads nor writes byte code."""
        raise OSError("byte code is not used")

    def get_data(self, path: str) -> bytes:
        """The source."""
        data = super().get_data(path)
        self.digest = hashlib.sha256(data).hexdigest()
        return data


class _Finder(MetaPathFinder):
    def __init__(self, is_local: Callable[[str], bool]) -> None:
        self._is_local = is_local

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or not self._is_local(spec.loader.path):
            return None
        spec.loader = FromSource(spec.loader.name, spec.loader.path)
        return spec


@contextmanager
def from_source(is_local: Callable[[str], bool]) -> Iterator[None]:
    """While the block runs, import modules whose file is local from their source."""
    finder = _Finder(is_local)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def forget_changed(sources: Mapping[str, str]) -> None:
    """Forget imported modules that were not made of the source that is wanted.

    Args:
        sources: module name -> sha256 of its source.
    """
    stale = [name for name, digest in sources.items() if name in sys.modules and _digest(name) != digest]
    if stale:
        for name in sources:
            sys.modules.pop(name, None)


def _digest(name: str) -> str | None:
    spec = getattr(sys.modules[name], "__spec__", None)
    return getattr(getattr(spec, "loader", None), "digest", None)
