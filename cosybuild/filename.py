"""The one rule for file names that come from settings, records, archives and other machines. Standard library only."""

from __future__ import annotations

import unicodedata

LONGEST = 255
"""Bytes in UTF-8, as most file systems allow."""

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, invisible formatting such as a change of direction, line separators."""


def fault_of(name: str, longest: int = LONGEST) -> str | None:
    """Say why a text cannot be trusted as the name of a file in one directory, on any system; None where it can.

    Args:
        longest: most bytes in UTF-8.
    """
    if name in ("", ".", ".."):
        return "is empty" if name == "" else "names a directory"
    found = next((char for char in name if char in "/\\:" or unicodedata.category(char) in _UNPRINTABLE), None)
    if found is not None:
        return f"contains {found!a}"
    if name.startswith("-"):
        return "begins with a dash, as an option does"
    size = len(name.encode("utf-8"))
    return f"has {size} bytes, more than {longest}" if size > longest else None


def is_plain_name(name: str) -> bool:
    """Say whether `name` can only ever name a file in the directory it is put in."""
    return fault_of(name) is None


def is_plain_path(path: str) -> bool:
    """Say whether every part of a relative path with `/` between its parts is a plain name."""
    return all(is_plain_name(part) for part in path.split("/"))
