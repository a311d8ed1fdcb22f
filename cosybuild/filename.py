"""Check file names that come from settings, records, archives and other machines. Standard library only."""

from __future__ import annotations

import unicodedata

LONGEST = 255
"""The largest number of bytes (UTF-8) of a file name on most file systems."""

_UNPRINTABLE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""The Unicode categories that names must not contain.

They are control characters, invisible formatting such as a change of direction, surrogates, and line separators.
"""


def fault_of(name: str, longest: int = LONGEST) -> str | None:
    """Return the reason why a text is not safe as a file name on every system; None if it is safe.

    The reason is the predicate of a sentence that begins with the name, e.g. `contains '/'`.

    Args:
        name: the text.
        longest: the largest permitted number of bytes in UTF-8.
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
    """Return True if `name` is safe as a file name on every system; a name with a directory is not safe."""
    return fault_of(name) is None


def is_plain_path(path: str) -> bool:
    """Return True if every part of a relative path, with `/` as separator, is a safe file name."""
    return all(is_plain_name(part) for part in path.split("/"))
