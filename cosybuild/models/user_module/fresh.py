"""Import a user's Python modules from their present source, without byte code and without earlier imports."""

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
    """A loader that always compiles the source.

    Python's own loader uses stored byte code if the source has the same size and modification time, even if its content
    is different.

    Attributes:
        digest: sha256 of the source that was compiled; None before the source was read.
    """

    digest: str | None = None

    def path_stats(self, path: Any) -> Mapping[str, Any]:
        """Raise an OSError, so that the import system neither reads nor writes byte code."""
        raise OSError("byte code is not used")

    def get_data(self, path: str) -> bytes:
        """Return the content of the source file, and store its sha256 in `digest`."""
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
        if spec is None:
            # The interpreter reports only imports. This also reports a search with importlib.util.find_spec.
            sys.audit("import", fullname, None, None, None, None)
        if spec is None or type(spec.loader) is not SourceFileLoader or not self._is_local(spec.loader.path):
            return None
        spec.loader = FromSource(spec.loader.name, spec.loader.path)
        return spec


@contextmanager
def import_from_source(is_local: Callable[[str], bool]) -> Iterator[None]:
    """Within the `with` block, let every import of a local module compile its source and use no stored byte code.

    Args:
        is_local: returns True for the path of a local module.
    """
    finder = _Finder(is_local)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def forget_changed(sources: Mapping[str, str]) -> None:
    """Remove all modules in `sources` from `sys.modules` if any of them was imported from different source code.

    Args:
        sources: name of a module -> sha256 of its expected source.
    """
    stale = [name for name, digest in sources.items() if name in sys.modules and _digest(name) != digest]
    if stale:
        for name in sources:
            sys.modules.pop(name, None)


def _digest(name: str) -> str | None:
    spec = getattr(sys.modules[name], "__spec__", None)
    return getattr(getattr(spec, "loader", None), "digest", None)
