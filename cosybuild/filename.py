"""The one rule for file names that come from settings, records, archives and other machines. Standard library only."""

from __future__ import annotations

import unicodedata

LONGEST = 255
"""The largest length of a name in bytes of UTF-8 on most file systems."""

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories: control characters, invisible formatting such as a change of direction, line separators."""


def fault_of(name: str, longest: int = LONGEST) -> str | None:
    """Return why a text is unsafe as the name of a file in a directory on some system; None if it is safe.

    Args:
        longest: the greatest permitted number of bytes in UTF-8.
    """
    if name in ("", ".", ".."):
        return "is empty" if name == "" else "names a directory"
    found = next((char for char in name if char in "/\\:" or unicodedata.category(char) in _UNPRINTABLE), None)
    if found is not None:
        return f"contains {found!a}"
    if name.startswith("-"):
        return "begins with a dash, like an option"
    size = len(name.encode("utf-8"))
    return f"has {size} bytes, more than {longest}" if size > longest else None


def is_plain_name(name: str) -> bool:
    """Return True if `name` is safe as the name of a file in a directory."""
    return fault_of(name) is None


def is_plain_path(path: str) -> bool:
    """Return True if every part of a relative path, with `/` as separator, is a plain name."""
    return all(is_plain_name(part) for part in path.split("/"))
